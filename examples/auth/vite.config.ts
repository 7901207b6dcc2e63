import { convoy } from '@avvos/convoy/vite';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

export default defineConfig({ plugins: [react(), convoy()] });
