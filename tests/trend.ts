/** Whether a series of measurements grows, by a line through its last 80 %. */

export interface Trend {
  /** By how much the line rises over the samples that count. */
  readonly growth: number;
  /** The usual distance of these samples from the line. */
  readonly noise: number;
}

const median = (numbers: readonly number[]): number => {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
};

/** The line has the median of the slopes between all pairs (Theil and Sen), which single peaks do not change. */
export function trendOf(samples: readonly number[]): Trend {
  const counted = samples.slice(Math.floor(samples.length / 5));
  const slopes = counted.flatMap((later, at) =>
    counted.slice(0, at).map((earlier, before) => (later - earlier) / (at - before)),
  );
  const slope = median(slopes);
  const offset = median(counted.map((sample, at) => sample - slope * at));
  // The median of absolute deviations, as a standard deviation.
  const noise = 1.4826 * median(counted.map((sample, at) => Math.abs(sample - slope * at - offset)));
  return { growth: slope * (counted.length - 1), noise };
}

/** Growth counts if it exceeds `allowance`, and cannot be noise. */
export function grows({ growth, noise }: Trend, allowance: number): boolean {
  return growth > Math.max(allowance, 3 * noise);
}

export const megabytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
