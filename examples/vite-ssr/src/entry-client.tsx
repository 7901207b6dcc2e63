import { StrictMode } from 'react';
import { hydrateRoot } from 'react-dom/client';
import { App, type PageData } from './app';

const root = document.getElementById('root') as HTMLElement;
const data = JSON.parse(document.getElementById('preloaded')?.textContent ?? '') as PageData;

hydrateRoot(
  root,
  <StrictMode>
    <App {...data} />
  </StrictMode>,
);
