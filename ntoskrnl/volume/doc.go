// Package volume has the files that drivers open on a drive: a directory of the host's that stands
// for a volume. Names are looked up without regard to case, and nothing outside the directory can
// be reached: no link, no name and no race leads out of it (os.Root).
//
// A [Volume] is the directory, a [File] one open of a file or directory in it, with the rights, the
// sharing and the statuses of Windows. While a file has sections its data are in their pages too,
// which is a [Content] that somebody else keeps: reads and writes agree with it.
//
// The package may import nt. Volume.mu guards the table of open files and the files' own state;
// host system calls are made under it, so that a name, its deletion and its sharing agree. A
// Content's methods are called under it as well, so its locks come after.
package volume
