/**
 * `@avvos/convoy/react/devtools`: a panel that shows what a client does. Production bundles contain none of it.
 *
 * @packageDocumentation
 */
'use client';
import { createElement, lazy, type ReactElement, Suspense } from 'react';
import type { ConvoyClient } from '../../client/client.js';

/** The properties of `ConvoyDevtools`. */
export interface ConvoyDevtoolsProps {
  /** A client other than the provided one. */
  readonly client?: ConvoyClient;
  /** Show the panel from the start, instead of a button that opens it. */
  readonly initiallyOpen?: boolean;
}

// Exactly this expression: bundlers replace it with the mode, and then leave the panel out.
const Panel = process.env.NODE_ENV === 'production' ? null : lazy(() => import('./devtools.js'));

/** A button in the corner of the page that opens the panel. In production it renders nothing. */
export function ConvoyDevtools(props: ConvoyDevtoolsProps): ReactElement | null {
  if (Panel === null) return null;
  return createElement(Suspense, { fallback: null }, createElement(Panel, props));
}
