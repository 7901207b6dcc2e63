declare module '*.svelte' {
  import type { Component } from 'svelte';

  const component: Component<{ start: () => () => string }>;
  export default component;
}
