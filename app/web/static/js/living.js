// States in which a run has, or soon has, a process.
export const LIVING = new Set(["queued", "starting", "running", "paused", "stopping"]);
