// Package hive reads and writes the binary files that Windows keeps its registry in: SYSTEM,
// SOFTWARE, NTUSER.DAT and what reg save and ZwSaveKey make ("regf", versions 1.3 to 1.6).
//
// [Read] gives a [Hive], whose [cm.Tree] is all that the file says. A hive that was not written to
// its end is recovered from its transaction logs, of the old and of the new format, as Windows
// does; [Open] finds them beside the file. [Hive.Write] makes a file of version 1.5.
//
// A file is taken for hostile. Every offset, size and count is checked, each cell may be used once
// (security descriptors excepted), and depth is bounded: so memory and time are within a small
// multiple of the file's size. What is wrong is an [*Error] with offset and field.
//
// Facts are from "Windows registry file format specification" (M. Suhanov) and "Windows NT Registry
// File (REGF) format" (J. Metz). The package may import nt and cm.
package hive
