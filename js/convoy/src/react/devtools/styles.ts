/** The look of the panel, as inline styles: it must not depend on the styles of the page, nor change them. */
import type { CSSProperties } from 'react';

export const colors = {
  text: 'light-dark(#1f2328, #e6edf3)',
  muted: 'light-dark(#59636e, #9198a1)',
  background: 'light-dark(#ffffff, #0d1117)',
  raised: 'light-dark(#f6f8fa, #161b22)',
  border: 'light-dark(#d1d9e0, #3d444d)',
  accent: 'light-dark(#0969da, #4493f8)',
  selected: 'light-dark(#ddf4ff, #10233f)',
  good: 'light-dark(#1a7f37, #3fb950)',
  waiting: 'light-dark(#9a6700, #d29922)',
  bad: 'light-dark(#cf222e, #f85149)',
} as const;

export type Tone = 'good' | 'waiting' | 'bad' | 'muted';

const base: CSSProperties = {
  boxSizing: 'border-box',
  color: colors.text,
  colorScheme: 'light dark',
  font: '12px/1.5 system-ui, sans-serif',
  textAlign: 'left',
};

const plainButton: CSSProperties = {
  background: 'none',
  border: 'none',
  borderRadius: 4,
  color: 'inherit',
  cursor: 'pointer',
  font: 'inherit',
  margin: 0,
  padding: '2px 8px',
};

export const styles = {
  launcher: {
    ...base,
    alignItems: 'center',
    background: colors.background,
    border: `1px solid ${colors.border}`,
    borderRadius: 999,
    bottom: 12,
    boxShadow: '0 2px 8px rgb(0 0 0 / 20%)',
    cursor: 'pointer',
    display: 'flex',
    gap: 6,
    padding: '5px 12px',
    position: 'fixed',
    right: 12,
    zIndex: 2147483000,
  },
  panel: {
    ...base,
    background: colors.background,
    borderTop: `1px solid ${colors.border}`,
    bottom: 0,
    boxShadow: '0 -4px 16px rgb(0 0 0 / 15%)',
    display: 'flex',
    flexDirection: 'column',
    height: 'min(360px, 60vh)',
    left: 0,
    position: 'fixed',
    right: 0,
    zIndex: 2147483000,
  },
  header: {
    alignItems: 'center',
    background: colors.raised,
    borderBottom: `1px solid ${colors.border}`,
    display: 'flex',
    flexWrap: 'wrap',
    gap: 12,
    padding: '4px 12px',
  },
  view: { flex: 1, minHeight: 0, overflow: 'auto' },
  body: { display: 'flex', height: '100%' },
  list: { flex: 1, minWidth: 0, overflow: 'auto' },
  details: {
    borderLeft: `1px solid ${colors.border}`,
    flex: '0 1 42%',
    minWidth: 0,
    overflow: 'auto',
    padding: '8px 12px',
  },
  empty: { color: colors.muted, margin: 0, padding: 12 },
  table: { borderCollapse: 'collapse', width: '100%' },
  head: {
    background: colors.background,
    borderBottom: `1px solid ${colors.border}`,
    color: colors.muted,
    fontWeight: 500,
    padding: '4px 8px',
    position: 'sticky',
    textAlign: 'left',
    top: 0,
    whiteSpace: 'nowrap',
  },
  cell: { padding: '2px 8px', verticalAlign: 'top', whiteSpace: 'nowrap' },
  number: {
    fontVariantNumeric: 'tabular-nums',
    padding: '2px 8px',
    textAlign: 'right',
    verticalAlign: 'top',
    whiteSpace: 'nowrap',
  },
  code: { fontFamily: 'ui-monospace, monospace', overflowWrap: 'anywhere', whiteSpace: 'normal' },
  muted: { color: colors.muted },
  button: plainButton,
  rowButton: {
    ...plainButton,
    fontFamily: 'ui-monospace, monospace',
    overflowWrap: 'anywhere',
    padding: 0,
    textAlign: 'left',
    whiteSpace: 'normal',
  },
  reason: {
    background: colors.raised,
    borderLeft: `3px solid ${colors.waiting}`,
    margin: '8px 0',
    padding: '4px 8px',
  },
  data: {
    background: colors.raised,
    borderRadius: 4,
    fontFamily: 'ui-monospace, monospace',
    margin: '4px 0 8px',
    maxHeight: 160,
    overflow: 'auto',
    padding: 8,
    whiteSpace: 'pre-wrap',
  },
  title: { fontSize: 12, fontWeight: 600, margin: '8px 0 2px' },
} satisfies Record<string, CSSProperties>;

export function tab(isSelected: boolean): CSSProperties {
  return {
    ...plainButton,
    background: isSelected ? colors.selected : 'none',
    color: isSelected ? colors.accent : 'inherit',
    fontWeight: isSelected ? 600 : 400,
  };
}

export function dot(tone: Tone): CSSProperties {
  return { background: colors[tone], borderRadius: '50%', display: 'inline-block', flex: 'none', height: 8, width: 8 };
}
