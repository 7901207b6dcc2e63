/** Lets a Node process end although the timer is set. */
export function unref(timer: ReturnType<typeof setTimeout>): void {
  // In browsers a timer is a number.
  if (typeof timer === 'object') timer.unref?.();
}
