package disk

import (
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// image is what is on a disk: the content of files by name.
type image map[string][]byte

// write writes the files into a directory.
func (i image) write(t testing.TB, dir string) {
	t.Helper()
	for name, content := range i {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// replay follows the record of a disk. It knows what is durable and what is not yet,
// and so what a power cut may leave.
//
// Durable are: of a file, what was written before its last completed sync; of the
// directory, the names as of its last completed sync (fsync(2): syncing a file "does
// not necessarily ensure that the entry in the directory has also reached disk"). All
// else may be kept or lost, each sector of each write by itself, in any order. What is
// relied on is what SQLite relies on: a write harms no byte outside of its range
// (powersafe overwrite, https://sqlite.org/psow.html), and the names change in order
// (ext4 journals its directories).
type replay struct {
	random  *rand.Rand
	durable map[int][]byte // by inode
	pending map[int][]pendingOperation
	names   map[string]int // durable ones
	renamed []operation    // creations and removals since the directory was synced
}

// pendingOperation is a write or truncation that is not durable yet. A sync that
// failed has perhaps not written it, and the next one does not either: Linux marks
// the pages clean all the same.
type pendingOperation struct {
	operation
	missed bool
}

func newReplay(random *rand.Rand) *replay {
	return &replay{random: random, durable: map[int][]byte{}, pending: map[int][]pendingOperation{}, names: map[string]int{}}
}

// step follows one more operation.
func (r *replay) step(o operation) {
	switch o.kind {
	case createKind, removeKind:
		r.renamed = append(r.renamed, o)
	case writeKind, truncateKind:
		r.pending[o.inode] = append(r.pending[o.inode], pendingOperation{operation: o})
	case syncKind:
		r.settle(o.inode)
	case syncDirectoryKind:
		r.names = r.renamedBy(len(r.renamed))
		r.renamed = nil
	case failedSyncKind:
		for i := range r.pending[o.inode] {
			r.pending[o.inode][i].missed = true
		}
	}
}

// settle makes what is pending durable, but for what a failed sync perhaps missed.
func (r *replay) settle(inode int) {
	content := r.durable[inode]
	for _, o := range r.pending[inode] {
		if !o.missed || r.random.IntN(2) == 0 {
			content = apply(content, o.operation)
		}
	}
	r.durable[inode], r.pending[inode] = content, nil
}

// apply returns the content after a write or truncation; a hole reads as zeros.
func apply(content []byte, o operation) []byte {
	size := int(o.offset) + len(o.content)
	if o.kind == truncateKind {
		size = int(o.offset)
		content = content[:min(size, len(content))]
	}
	if missing := size - len(content); missing > 0 {
		content = append(content, make([]byte, missing)...)
	}
	copy(content[o.offset:], o.content)
	return content
}

// renamedBy returns the names after the first n of the pending creations and removals.
func (r *replay) renamedBy(n int) map[string]int {
	names := maps.Clone(r.names)
	for _, o := range r.renamed[:n] {
		if o.kind == removeKind {
			delete(names, o.name)
		} else {
			names[o.name] = o.inode
		}
	}
	return names
}

// outcome is one of the ways in which a power cut treats what is not durable.
type outcome struct {
	draws   int                 // how often it is tried at a cut; 0: once
	renamed func(r *replay) int // how many creations and removals are kept
	keep    func(r *replay, content []byte, pending []pendingOperation) []byte
}

// outcomes are tried at each cut: all is lost, all is kept, the last write is torn, and some is lost.
var outcomes = []outcome{
	{0, func(*replay) int { return 0 }, func(_ *replay, content []byte, _ []pendingOperation) []byte { return content }},
	{0, func(r *replay) int { return len(r.renamed) }, keepAll},
	{0, func(r *replay) int { return len(r.renamed) }, keepTorn},
	{2, func(r *replay) int { return r.random.IntN(len(r.renamed) + 1) }, keepSome},
}

func keepAll(_ *replay, content []byte, pending []pendingOperation) []byte {
	for _, o := range pending {
		content = apply(content, o.operation)
	}
	return content
}

func keepTorn(r *replay, content []byte, pending []pendingOperation) []byte {
	if len(pending) == 0 {
		return content
	}
	last := len(pending) - 1
	torn := pending[last].operation
	torn.content = torn.content[:len(torn.content)/2]
	return apply(keepAll(r, content, pending[:last]), torn)
}

// keepSome keeps or loses each sector of each write. Where a lost one would have made
// the file longer, there may be garbage instead (ext4 with data=writeback).
func keepSome(r *replay, content []byte, pending []pendingOperation) []byte {
	sector := []int{512, 4096}[r.random.IntN(2)]
	loss := []float64{0.1, 0.5, 0.9}[r.random.IntN(3)]
	for _, o := range pending {
		if o.kind == truncateKind {
			if r.random.Float64() >= loss {
				content = apply(content, o.operation)
			}
			continue
		}
		for _, part := range sectors(o.operation, sector) {
			switch {
			case r.random.Float64() >= loss:
				content = apply(content, part)
			case int(part.offset) >= len(content) && r.random.IntN(4) == 0:
				part.content = slices.Clone(part.content)
				for i := range part.content {
					part.content[i] = byte(r.random.Uint32())
				}
				content = apply(content, part)
			}
		}
	}
	return content
}

// sectors cuts a write at the borders of sectors.
func sectors(o operation, size int) []operation {
	var parts []operation
	for rest := o.content; len(rest) > 0; {
		n := min(len(rest), size-int(o.offset)%size)
		part := o
		part.content = rest[:n]
		parts = append(parts, part)
		o.offset += int64(n)
		rest = rest[n:]
	}
	return parts
}

// cut returns what a power cut leaves now.
func (r *replay) cut(o outcome) image {
	i := image{}
	for name, inode := range r.renamedBy(o.renamed(r)) {
		i[name] = o.keep(r, slices.Clone(r.durable[inode]), r.pending[inode])
	}
	return i
}
