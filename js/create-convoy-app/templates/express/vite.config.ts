import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

/** `vite build` builds the page, and `vite build --ssr src/server.ts` the server. */
export default defineConfig(({ isSsrBuild }) => ({
  plugins: [react()],
  build: isSsrBuild ? { outDir: 'dist/server', copyPublicDir: false } : { outDir: 'dist/page' },
}));
