package disk

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	sqlite3 "modernc.org/sqlite/lib"
)

// kind is what an operation does.
type kind string

// The kinds of operations. Reads are not recorded.
const (
	createKind        kind = "create"
	removeKind        kind = "remove"
	writeKind         kind = "write"
	truncateKind      kind = "truncate"
	syncKind          kind = "sync"
	syncDirectoryKind kind = "sync directory"
	failedSyncKind    kind = "failed sync"
)

// operation is one change of a disk.
type operation struct {
	kind    kind
	inode   int    // the file, whatever its name
	name    string // without the directory
	offset  int64  // of a write; the new size of a truncation
	content []byte
}

// disk is a directory whose files SQLite uses through package disk: it records every
// operation in order, and does as fault says.
type disk struct {
	dir   string
	quick bool // records nothing, and syncs cost nothing

	// lies tells the operations that the disk says are synced while they are not.
	lies func(operation) bool

	mu         sync.Mutex
	fault      func(operation) int32
	operations []operation
	inodes     map[string]int
	next       int
	directory  bool // the directory was synced within the operation that holds mu
}

// newDisk makes a disk of a directory of its own.
func newDisk(t testing.TB) *disk {
	t.Helper()
	d := &disk{dir: t.TempDir(), inodes: map[string]int{}}
	files.mu.Lock()
	defer files.mu.Unlock()
	files.disks[d.dir] = d
	t.Cleanup(d.discard)
	return d
}

// discard forgets the disk and deletes its files, of which the rounds of a check would
// pile up a lot.
func (d *disk) discard() {
	files.mu.Lock()
	defer files.mu.Unlock()
	delete(files.disks, d.dir)
	_ = os.RemoveAll(d.dir)
}

// position is the number of operations so far.
func (d *disk) position() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.operations)
}

func (d *disk) record(o operation) {
	if !d.quick {
		d.operations = append(d.operations, o)
	}
}

// recordDirectory records that the operation before synced the directory too.
func (d *disk) recordDirectory() {
	o := operation{kind: syncDirectoryKind}
	if d.directory && !d.lie(o) {
		d.record(o)
	}
	d.directory = false
}

func (d *disk) lie(o operation) bool { return d.lies != nil && d.lies(o) }

// open opens a file, by whatever it is made.
func (d *disk) open(name string, open func() int32) (int, int32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	rc := open()
	if rc != sqlite3.SQLITE_OK {
		return 0, rc
	}
	inode, known := d.inodes[name]
	if !known {
		d.next++
		inode = d.next
		d.inodes[name] = inode
		d.record(operation{kind: createKind, inode: inode, name: name})
	}
	return inode, rc
}

func (d *disk) remove(name string, remove func() int32) int32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	rc := remove()
	if rc == sqlite3.SQLITE_OK {
		d.record(operation{kind: removeKind, inode: d.inodes[name], name: name})
		delete(d.inodes, name)
		d.recordDirectory()
	}
	return rc
}

// do does an operation, or fails: a write then leaves half of what it should write.
func (d *disk) do(o operation, run func(length int) int32) int32 {
	failure := int32(sqlite3.SQLITE_OK)
	if fault := d.presentFault(); fault != nil {
		failure = fault(o)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if failure != sqlite3.SQLITE_OK {
		d.doHalf(o, run)
		return failure
	}
	if o.kind == syncKind && (d.quick || d.lie(o)) {
		return sqlite3.SQLITE_OK
	}
	rc := run(len(o.content))
	if rc == sqlite3.SQLITE_OK {
		d.record(o)
		d.recordDirectory()
	}
	return rc
}

// fail lets operations fail from now on: fault returns the result of one that does, or
// SQLITE_OK. It may wait. nil: none fails.
func (d *disk) fail(fault func(operation) int32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = fault
}

func (d *disk) presentFault() func(operation) int32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fault
}

// failureOf is how an operation fails, when the disk is full or else broken.
func failureOf(o operation, full bool) int32 {
	switch {
	case o.kind == syncKind:
		return sqlite3.SQLITE_IOERR_FSYNC
	case o.kind == truncateKind:
		return sqlite3.SQLITE_IOERR_TRUNCATE
	case full:
		return sqlite3.SQLITE_FULL
	}
	return sqlite3.SQLITE_IOERR_WRITE
}

// doHalf does what a failed operation does all the same.
func (d *disk) doHalf(o operation, run func(length int) int32) {
	switch half := len(o.content) / 2; {
	case o.kind == syncKind:
		o.kind = failedSyncKind
		d.record(o)
	case o.kind == writeKind && half > 0 && run(half) == sqlite3.SQLITE_OK:
		o.content = o.content[:half]
		d.record(o)
	}
}

// content reads the files of the disk as they are now, but for the shared memory.
func (d *disk) content(t testing.TB) image {
	t.Helper()
	i := image{}
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".db-shm" {
			continue
		}
		if i[e.Name()], err = os.ReadFile(filepath.Join(d.dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return i
}
