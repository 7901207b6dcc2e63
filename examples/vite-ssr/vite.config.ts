import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

/** `vite build` builds what browsers load, and `vite build --ssr` what the server imports. */
export default defineConfig(({ isSsrBuild }) => ({
  plugins: [react()],
  build: { outDir: isSsrBuild ? 'dist/server' : 'dist/page' },
}));
