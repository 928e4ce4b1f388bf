package disk

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// files is what stands between SQLite and its "unix" VFS. It is a variable of the
// package because SQLite calls plain functions, which get nothing of ours.
var files = interception{
	disks:  map[string]*disk{},
	open:   map[uintptr]*openFile{},
	tables: map[uintptr]uintptr{},
}

type interception struct {
	vfs           uintptr // the original
	openDirectory uintptr // the original system call

	mu     sync.Mutex
	disks  map[string]*disk      // by directory
	open   map[uintptr]*openFile // by SQLite's file
	tables map[uintptr]uintptr   // by the original table of methods: its copy, with ours replaced
}

// openFile is a file of a disk that SQLite has open.
type openFile struct {
	disk    *disk
	inode   int
	name    string
	methods *sqlite3.Tsqlite3_io_methods // the originals
}

// The functions that are replaced, as SQLite calls them.
type (
	openFunc          = func(tls *libc.TLS, vfs, name, file uintptr, flags int32, outFlags uintptr) int32
	deleteFunc        = func(tls *libc.TLS, vfs, name uintptr, syncDirectory int32) int32
	closeFunc         = func(tls *libc.TLS, file uintptr) int32
	writeFunc         = func(tls *libc.TLS, file, content uintptr, n int32, offset int64) int32
	truncateFunc      = func(tls *libc.TLS, file uintptr, size int64) int32
	syncFunc          = func(tls *libc.TLS, file uintptr, flags int32) int32
	openDirectoryFunc = func(tls *libc.TLS, name, descriptor uintptr) int32
	getSystemCallFunc = func(tls *libc.TLS, vfs, name uintptr) uintptr
	setSystemCallFunc = func(tls *libc.TLS, vfs, name, function uintptr) int32
)

// at is the Go value at one of SQLite's addresses.
func at[T any](address uintptr) *T { return *(**T)(unsafe.Pointer(&address)) }

// function is the Go function that a pointer of SQLite's stands for.
func function[F any](pointer uintptr) F { return *(*F)(unsafe.Pointer(&pointer)) }

// pointer is what stands for a function of ours, not a closure, in SQLite.
func pointer[F any](f F) uintptr { return *(*uintptr)(unsafe.Pointer(&f)) }

// copyOf copies one of SQLite's structures into memory of its own, for ever.
func copyOf[T any](tls *libc.TLS, original uintptr) (uintptr, error) {
	p := libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(*at[T](original))))
	if p == 0 {
		return 0, errors.New("out of memory")
	}
	*at[T](p) = *at[T](original)
	return p, nil
}

// intercept puts itself between SQLite and the file system, for the whole process.
// It changes nothing for a directory that has no disk.
func intercept() error {
	tls := libc.NewTLS()
	defer tls.Close()
	files.vfs = sqlite3.Xsqlite3_vfs_find(tls, 0)
	if files.vfs == 0 {
		return errors.New("SQLite has no VFS")
	}
	if err := watchDirectories(tls); err != nil {
		return err
	}
	ours, err := copyOf[sqlite3.Tsqlite3_vfs](tls, files.vfs)
	if err != nil {
		return err
	}
	vfs := at[sqlite3.Tsqlite3_vfs](ours)
	vfs.FxOpen, vfs.FxDelete = pointer[openFunc](xOpen), pointer[deleteFunc](xDelete)
	if rc := sqlite3.Xsqlite3_vfs_register(tls, ours, 1); rc != sqlite3.SQLITE_OK {
		return fmt.Errorf("SQLite does not take the VFS: %d", rc)
	}
	return nil
}

// watchDirectories lets the syncs of directories be seen, which the VFS does by itself.
func watchDirectories(tls *libc.TLS) error {
	name, err := libc.CString("openDirectory")
	if err != nil {
		return err
	}
	defer libc.Xfree(tls, name)
	vfs := at[sqlite3.Tsqlite3_vfs](files.vfs)
	files.openDirectory = function[getSystemCallFunc](vfs.FxGetSystemCall)(tls, files.vfs, name)
	rc := function[setSystemCallFunc](vfs.FxSetSystemCall)(tls, files.vfs, name, pointer[openDirectoryFunc](openDirectory))
	if rc != sqlite3.SQLITE_OK {
		return fmt.Errorf("SQLite does not let syncs of directories be seen: %d", rc)
	}
	return nil
}

// diskOf is the disk that a file is on, or nil.
func (i *interception) diskOf(name uintptr) (*disk, string) {
	if name == 0 {
		return nil, ""
	}
	path := libc.GoString(name)
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.disks[filepath.Dir(path)], filepath.Base(path)
}

func (i *interception) file(file uintptr) *openFile {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.open[file]
}

// opened replaces the methods of a file that was opened.
func (i *interception) opened(tls *libc.TLS, file uintptr, f *openFile) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	methods := &at[sqlite3.Tsqlite3_file](file).FpMethods
	f.methods = at[sqlite3.Tsqlite3_io_methods](*methods)
	ours, known := i.tables[*methods]
	if !known {
		var err error
		if ours, err = copyOf[sqlite3.Tsqlite3_io_methods](tls, *methods); err != nil {
			return err
		}
		table := at[sqlite3.Tsqlite3_io_methods](ours)
		table.FxClose, table.FxWrite = pointer[closeFunc](xClose), pointer[writeFunc](xWrite)
		table.FxTruncate, table.FxSync = pointer[truncateFunc](xTruncate), pointer[syncFunc](xSync)
		i.tables[*methods] = ours
	}
	*methods = ours
	i.open[file] = f
	return nil
}

func xOpen(tls *libc.TLS, _, name, file uintptr, flags int32, outFlags uintptr) int32 {
	open := func() int32 {
		return function[openFunc](at[sqlite3.Tsqlite3_vfs](files.vfs).FxOpen)(tls, files.vfs, name, file, flags, outFlags)
	}
	d, base := files.diskOf(name)
	if d == nil {
		return open()
	}
	inode, rc := d.open(base, open)
	if rc == sqlite3.SQLITE_OK && files.opened(tls, file, &openFile{disk: d, inode: inode, name: base}) != nil {
		return sqlite3.SQLITE_NOMEM
	}
	return rc
}

func xDelete(tls *libc.TLS, _, name uintptr, syncDirectory int32) int32 {
	remove := func() int32 {
		return function[deleteFunc](at[sqlite3.Tsqlite3_vfs](files.vfs).FxDelete)(tls, files.vfs, name, syncDirectory)
	}
	d, base := files.diskOf(name)
	if d == nil {
		return remove()
	}
	return d.remove(base, remove)
}

func xClose(tls *libc.TLS, file uintptr) int32 {
	f := files.file(file)
	files.mu.Lock()
	delete(files.open, file)
	files.mu.Unlock()
	return function[closeFunc](f.methods.FxClose)(tls, file)
}

func xWrite(tls *libc.TLS, file, content uintptr, n int32, offset int64) int32 {
	f := files.file(file)
	b := append([]byte(nil), unsafe.Slice(at[byte](content), n)...)
	return f.disk.do(operation{kind: writeKind, inode: f.inode, name: f.name, offset: offset, content: b}, func(length int) int32 {
		return function[writeFunc](f.methods.FxWrite)(tls, file, content, int32(length), offset)
	})
}

func xTruncate(tls *libc.TLS, file uintptr, size int64) int32 {
	f := files.file(file)
	return f.disk.do(operation{kind: truncateKind, inode: f.inode, name: f.name, offset: size}, func(int) int32 {
		return function[truncateFunc](f.methods.FxTruncate)(tls, file, size)
	})
}

func xSync(tls *libc.TLS, file uintptr, flags int32) int32 {
	f := files.file(file)
	return f.disk.do(operation{kind: syncKind, inode: f.inode, name: f.name}, func(int) int32 {
		return function[syncFunc](f.methods.FxSync)(tls, file, flags)
	})
}

// openDirectory is called from within a sync or a deletion, and nowhere else, when
// the directory is synced next.
func openDirectory(tls *libc.TLS, name, descriptor uintptr) int32 {
	if d, _ := files.diskOf(name); d != nil {
		d.directory = true
	}
	return function[openDirectoryFunc](files.openDirectory)(tls, name, descriptor)
}
