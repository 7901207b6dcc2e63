/** The page of `bindings.browser.test.ts` in Svelte. */
import { mount } from 'svelte';
import { root } from './api.js';
import App from './app.svelte';

mount(App, { target: root() });
