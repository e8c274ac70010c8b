package ntoskrnl

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// fileRig is a driverRig with a directory as its drive C:.
type fileRig struct {
	*driverRig
	dir string
}

func newFileRig(t testing.TB) *fileRig {
	dir := t.TempDir()
	return &fileRig{newRigOf(t, newKernel(t, Options{Processors: 1,
		Volumes: map[string]string{"C": dir}})), dir}
}

func (r *fileRig) file(name string, content []byte) {
	require.NoError(r.t, os.WriteFile(filepath.Join(r.dir, name), content, 0o644))
}

func (r *fileRig) content(name string) []byte {
	data, err := os.ReadFile(filepath.Join(r.dir, name))
	require.NoError(r.t, err)
	return data
}

const (
	readWriteData = nt.FILE_READ_DATA | nt.FILE_WRITE_DATA | nt.SYNCHRONIZE
	readData      = nt.FILE_READ_DATA | nt.SYNCHRONIZE
)

// open opens a file for synchronous I/O.
func (r *fileRig) open(name string, access, disposition uint32) (h uint64, status nt.Status) {
	handle, iosb := r.mem(8), r.mem(16)
	status = r.status("ZwCreateFile", handle, uint64(access), r.objectAttributes(`\??\C:\`+name, 0,
		nt.OBJ_KERNEL_HANDLE|nt.OBJ_CASE_INSENSITIVE), iosb, 0, 0, 7, uint64(disposition),
		uint64(nt.FILE_SYNCHRONOUS_IO_NONALERT), 0, 0)
	return r.u64(handle), status
}

func (r *fileRig) mustOpen(name string, access uint32) uint64 {
	r.t.Helper()
	h, status := r.open(name, access, nt.FILE_OPEN)
	require.Equal(r.t, nt.STATUS_SUCCESS, status)
	return h
}

// fileSection makes a section of a file.
func (r *fileRig) fileSection(file, size, protect uint64) (h uint64, status nt.Status) {
	handle, max := r.mem(8), r.mem(8)
	r.put64(max, size)
	status = r.status("ZwCreateSection", handle, sectionAccess, r.objectAttributes("", 0,
		nt.OBJ_KERNEL_HANDLE), max, protect, secCommit, file)
	return r.u64(handle), status
}

func (r *fileRig) view(section uint64, v viewArgs) viewArgs {
	r.t.Helper()
	require.Equal(r.t, nt.STATUS_SUCCESS, r.mapView(section, currentProc, &v))
	return v
}

func (r *fileRig) unmap(v viewArgs) {
	r.t.Helper()
	require.Equal(r.t, nt.STATUS_SUCCESS, r.status("ZwUnmapViewOfSection", currentProc, v.base))
}

// io reads or writes at an offset.
func (r *fileRig) io(name string, file, buffer uint64, n int, at uint64) nt.Status {
	iosb, offset := r.mem(16), r.mem(8)
	r.put64(offset, at)
	return r.status(name, file, 0, 0, 0, iosb, buffer, uint64(n), offset, 0)
}

func TestWhatIsWrittenToAViewReachesTheFile(t *testing.T) {
	r := newFileRig(t)
	want := bytes.Repeat([]byte("0123456789abcdef"), 20000/16)
	r.file("data", want)
	before := r.Mm.Use()
	file := r.mustOpen("DATA", readWriteData)
	section, status := r.fileSection(file, 0, pageRW)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	info := r.mem(0x40)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwQuerySection", section, 0, info, 24, 0))
	assert.EqualValues(t, len(want), r.u64(info+16), "a section is as large as its file")
	assert.EqualValues(t, secCommit|0x00800000, r.u32(info+8), "SEC_FILE")
	r.call("ZwClose", file) // the section keeps the file

	v := r.view(section, viewArgs{protect: pageRW})
	assert.EqualValues(t, 0x5000, v.size)
	assert.Equal(t, want, r.read(v.base, len(want)))
	assert.Equal(t, make([]byte, 0x5000-len(want)), r.read(v.base+uint64(len(want)), 0x5000-len(want)),
		"what follows in the last page is zeros")
	r.write(v.base+4090, []byte("over a page"))
	r.write(v.base+uint64(len(want))-3, []byte("end and beyond"))
	copy(want[4090:], "over a page")
	copy(want[len(want)-3:], "end")
	r.unmap(v)
	assert.Equal(t, want, r.content("data"), "no longer than it was")
	v = r.view(section, viewArgs{protect: pageRO})
	assert.Error(t, guest.Store8(guest.Addr(v.base), 1))
	r.unmap(v)
	r.call("ZwClose", section)
	after := r.Mm.Use()
	assert.Equal(t, before.Sections, after.Sections)
	assert.Equal(t, before.Other, after.Other)
}

func TestSectionsAndReadsOfAFileAgree(t *testing.T) {
	r := newFileRig(t)
	r.file("data", make([]byte, 0x3000))
	file, other := r.mustOpen("data", readWriteData), r.mustOpen("data", readWriteData)
	one, status := r.fileSection(file, 0, pageRW)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	two, status := r.fileSection(other, 0x1800, pageRO)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	v, w := r.view(one, viewArgs{protect: pageRW}), r.view(two, viewArgs{protect: pageRO})
	assert.EqualValues(t, 0x2000, w.size)
	private := r.view(one, viewArgs{protect: 8}) // PAGE_WRITECOPY
	buffer := r.mem(0x3000)

	r.write(v.base+0x1000, []byte("by a view"))
	assert.Equal(t, "by a view", string(r.read(w.base+0x1000, 9)), "sections share the pages")
	require.Equal(t, nt.STATUS_SUCCESS, r.io("ZwReadFile", other, buffer, 0x3000, 0))
	assert.Equal(t, "by a view", string(r.read(buffer+0x1000, 9)))
	r.write(buffer, []byte("by a write"))
	require.Equal(t, nt.STATUS_SUCCESS, r.io("ZwWriteFile", other, buffer, 10, 0x1100))
	assert.Equal(t, "by a write", string(r.read(v.base+0x1100, 10)))
	assert.Equal(t, "by a view", string(r.read(v.base+0x1000, 9)))
	r.write(private.base, []byte("mine"))
	assert.Equal(t, make([]byte, 4), r.read(v.base, 4), "a copy stays one")

	r.write(v.base+0x2000, []byte("flushed"))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwFlushBuffersFile", file, r.mem(16)))
	assert.Equal(t, "flushed", string(r.content("data")[0x2000:0x2007]))

	flush := func(at, n uint64) (base, size uint64, status nt.Status) {
		b, s := r.mem(8), r.mem(8)
		r.put64(b, at)
		r.put64(s, n)
		status = r.status("ZwFlushVirtualMemory", currentProc, b, s, r.mem(16))
		return r.u64(b), r.u64(s), status
	}
	r.write(v.base+0x10, []byte("one"))
	r.write(v.base+0x2010, []byte("three"))
	base, n, status := flush(v.base+0x20, 0x10)
	assert.Equal(t, nt.STATUS_SUCCESS, status)
	assert.Equal(t, [2]uint64{v.base, 0x1000}, [2]uint64{base, n})
	assert.Equal(t, "one", string(r.content("data")[0x10:0x13]))
	assert.NotEqual(t, "three", string(r.content("data")[0x2010:0x2015]))
	_, n, status = flush(v.base, 0)
	assert.Equal(t, nt.STATUS_SUCCESS, status)
	assert.EqualValues(t, 0x3000, n)
	assert.Equal(t, "three", string(r.content("data")[0x2010:0x2015]))
	_, _, status = flush(private.base, 0)
	assert.Equal(t, nt.STATUS_NOT_MAPPED_DATA, status)
	_, _, status = flush(buffer, 0)
	assert.Equal(t, nt.STATUS_NOT_MAPPED_VIEW, status)

	// The file can grow, and cannot be cut off.
	size, iosb := r.mem(8), r.mem(16)
	r.put64(size, 0x100)
	assert.Equal(t, nt.STATUS_USER_MAPPED_FILE, r.status("ZwSetInformationFile", file, iosb, size, 8,
		uint64(nt.FileEndOfFileInformation)))
	_, status = r.open("data", readWriteData, nt.FILE_OVERWRITE)
	assert.Equal(t, nt.STATUS_USER_MAPPED_FILE, status)
	three, status := r.fileSection(file, 0x12345, pageRW)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	assert.Len(t, r.content("data"), 0x12345)
	x := r.view(three, viewArgs{protect: pageRW})
	assert.Equal(t, "by a view", string(r.read(x.base+0x1000, 9)))
	r.write(x.base+0x12340, []byte("last"))
	r.write(x.base+0x1000, []byte("BY A VIEW"))
	assert.Equal(t, "BY A VIEW", string(r.read(v.base+0x1000, 9)))
	for _, view := range []viewArgs{v, w, x, private} {
		r.unmap(view)
	}
	assert.Equal(t, "last", string(r.content("data")[0x12340:0x12344]))
	for _, h := range []uint64{one, two, three} {
		r.call("ZwClose", h)
	}
	assert.Equal(t, nt.STATUS_SUCCESS, r.status("ZwSetInformationFile", file, iosb, size, 8,
		uint64(nt.FileEndOfFileInformation)))
	assert.Len(t, r.content("data"), 0x100)
}

func TestAViewOutlivesWhatOthersDoToTheFile(t *testing.T) {
	r := newFileRig(t)
	r.file("data", bytes.Repeat([]byte{7}, 0x4000))
	file := r.mustOpen("data", readWriteData)
	section, status := r.fileSection(file, 0, pageRW)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	v := r.view(section, viewArgs{protect: pageRW})
	require.NoError(t, os.Truncate(filepath.Join(r.dir, "data"), 10))
	assert.Equal(t, bytes.Repeat([]byte{7}, 0x4000), r.read(v.base, 0x4000))
	r.write(v.base+0x2000, []byte("kept"))
	r.unmap(v)
	got := r.content("data")
	require.Len(t, got, 0x3000, "only the page that was written goes to the file")
	assert.Equal(t, "kept", string(got[0x2000:0x2004]))
	require.NoError(t, os.Remove(filepath.Join(r.dir, "data")))
	v = r.view(section, viewArgs{protect: pageRW})
	r.write(v.base, []byte("nowhere"))
	r.unmap(v)
	r.call("ZwClose", section)
	r.call("ZwClose", file)
	_, err := os.Stat(filepath.Join(r.dir, "data"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestWhatIsWrittenIsThereWhenTheKernelEnds(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "data"), make([]byte, 100), 0o644))
	k, err := New(Options{Processors: 1, Volumes: map[string]string{"C": dir}})
	require.NoError(t, err)
	r := &fileRig{newRigOf(t, k), dir}
	section, status := r.fileSection(r.mustOpen("data", readWriteData), 0, pageRW)
	require.Equal(t, nt.STATUS_SUCCESS, status)
	v := r.view(section, viewArgs{protect: pageRW})
	r.write(v.base+50, []byte("late"))
	r.thread.Release()
	require.NoError(t, k.Close())
	assert.Equal(t, "late", string(r.content("data")[50:54]))
	assert.Len(t, r.content("data"), 100)
}

func TestMisuseOfFileSections(t *testing.T) {
	r := newFileRig(t)
	r.file("data", make([]byte, 0x1000))
	r.file("empty", nil)
	require.NoError(t, os.Mkdir(filepath.Join(r.dir, "dir"), 0o755))
	dir, iosb := r.mem(8), r.mem(16)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ZwCreateFile", dir, uint64(readData),
		r.objectAttributes(`\??\C:\dir`, 0, nt.OBJ_KERNEL_HANDLE), iosb, 0, 0, 7, uint64(nt.FILE_OPEN),
		uint64(nt.FILE_DIRECTORY_FILE|nt.FILE_SYNCHRONOUS_IO_NONALERT), 0, 0))
	rw, ro := r.mustOpen("data", readWriteData), r.mustOpen("data", readData)
	empty := r.mustOpen("empty", readWriteData)
	const image, based = 0x01000000, 0x00200000
	for _, c := range []struct {
		fact    string
		file    uint64
		size    uint64
		protect uint64
		attribs uint64
		want    nt.Status
	}{
		{"an empty file", empty, 0, pageRW, secCommit, nt.STATUS_MAPPED_FILE_SIZE_ZERO},
		{"a directory", r.u64(dir), 0, pageRO, secCommit, nt.STATUS_INVALID_FILE_FOR_SECTION},
		{"writing what was opened for reading", ro, 0, pageRW, secCommit, nt.STATUS_ACCESS_DENIED},
		{"more than there is, to read", ro, 0x1001, pageRO, secCommit, nt.STATUS_SECTION_TOO_BIG},
		{"more than a file may have", rw, 1 << 63, pageRW, secCommit, nt.STATUS_SECTION_TOO_BIG},
		{"an image", rw, 0, pageRO, image, nt.STATUS_NOT_SUPPORTED},
		{"a base", rw, 0, pageRO, secCommit | based, nt.STATUS_NOT_SUPPORTED},
	} {
		max := r.mem(8)
		r.put64(max, c.size)
		assert.Equal(t, c.want, r.status("ZwCreateSection", r.mem(8), sectionAccess, 0, max, c.protect,
			c.attribs, c.file), c.fact)
	}
	assert.Len(t, r.content("data"), 0x1000)
	for _, c := range []struct {
		fact    string
		file    uint64
		protect uint64 // of the section
		view    viewArgs
		want    nt.Status
	}{
		{"writing through a section to read", rw, pageRO, viewArgs{protect: pageRW},
			nt.STATUS_SECTION_PROTECTION},
		{"a copy of a section to read", ro, pageRO, viewArgs{protect: 8}, nt.STATUS_SUCCESS},
		{"writing to a section of copies", ro, 8, viewArgs{protect: pageRW},
			nt.STATUS_SECTION_PROTECTION},
		{"behind the end", ro, pageRO, viewArgs{protect: pageRO, offset: 0x10000},
			nt.STATUS_INVALID_VIEW_SIZE},
		{"more than there is", ro, pageRO, viewArgs{protect: pageRO, size: 0x1001},
			nt.STATUS_INVALID_VIEW_SIZE},
	} {
		section, status := r.fileSection(c.file, 0, c.protect)
		require.Equal(t, nt.STATUS_SUCCESS, status, c.fact)
		assert.Equal(t, c.want, r.mapView(section, currentProc, &c.view), c.fact)
		r.call("ZwClose", section)
	}
	// A section of a FILE_OBJECT, as file systems make them.
	object, result := r.mem(8), r.mem(8)
	require.Equal(t, nt.STATUS_SUCCESS, r.status("ObReferenceObjectByHandle", rw, 0, 0, 0, object, 0))
	require.Equal(t, nt.STATUS_SUCCESS, r.status("MmCreateSection", result, sectionAccess, 0, r.mem(8),
		pageRW, secCommit, 0, r.u64(object)))
	r.call("ObfDereferenceObject", r.u64(result))
	r.call("ObfDereferenceObject", r.u64(object))
}
