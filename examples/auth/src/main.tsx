import { createConvoyClient } from '@avvos/convoy/client';
import { ConvoyProvider } from '@avvos/convoy/react';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { App } from './app';
import './styles/tokens.css';
import './styles/base.css';
import './styles/sign-in.css';
import './styles/home.css';

const root = document.getElementById('root');
if (!root) throw new Error('index.html has an element with the id "root"');

createRoot(root).render(
  <StrictMode>
    <ConvoyProvider client={createConvoyClient()}>
      <App />
    </ConvoyProvider>
  </StrictMode>,
);
