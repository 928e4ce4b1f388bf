// Package disk holds the checks against the faults of disk, clock and process. The
// real store runs on a disk that records what SQLite writes, syncs and deletes, and
// can fail or hang as it is told: a layer between SQLite and its own access to files,
// so that nothing of ours knows about it. From the record it rebuilds what a power
// cut at any moment may leave, and asks whether every promise that was given before
// is kept. Other checks let the clock jump, stop a process that holds the lock, and
// fill a real disk under the real binary.
package disk
