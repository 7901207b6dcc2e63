/** The logo: three vessels in line. */
export function Mark() {
  return (
    <svg className="mark" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="9" />
      <path d="m7 10 5 6-5 6" />
      <path d="m13.5 10 5 6-5 6" opacity=".7" />
      <path d="m20 10 5 6-5 6" opacity=".4" />
    </svg>
  );
}
