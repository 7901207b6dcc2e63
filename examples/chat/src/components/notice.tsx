/** The message in the middle of an area without content: empty, failed, not found. */
import type { ReactNode } from 'react';

interface Props {
  readonly title: string;
  readonly kind?: 'calm' | 'problem';
  readonly picture?: ReactNode;
  readonly children?: ReactNode;
}

export function Notice({ title, kind = 'calm', picture, children }: Props) {
  return (
    <section className="notice" data-kind={kind} role={kind === 'problem' ? 'alert' : undefined}>
      {picture}
      <h2>{title}</h2>
      {children}
    </section>
  );
}
