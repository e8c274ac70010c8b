package irp

// The major functions besides read, write and control: what the I/O manager checks, what it answers
// by itself, and how the buffers reach the driver.
//
// The checks come from "NtQueryInformationFile", "NtSetInformationFile", "NtQueryDirectoryFile",
// "NtLockFile" and "NtQueryVolumeInformationFile function (ntifs.h)", the layouts of the stack
// locations from the pages of the IRP_MJ_ codes.

import (
	"encoding/binary"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// answered is the internal status of a request that the I/O manager has answered by itself: the
// request's results are set.
const answered nt.Status = 0x2D52A115

// infoRule is what the I/O manager asks of one information class.
type infoRule struct {
	length uint32 // least, in bytes
	access uint32 // that the handle must have
}

var queryFileRules = map[uint32]infoRule{
	nt.FileBasicInformation:       {40, nt.FILE_READ_ATTRIBUTES},
	nt.FileStandardInformation:    {24, 0},
	nt.FileInternalInformation:    {8, 0},
	nt.FileEaInformation:          {4, 0},
	nt.FileAccessInformation:      {4, 0},
	nt.FileNameInformation:        {8, 0},
	nt.FilePositionInformation:    {8, 0},
	nt.FileModeInformation:        {4, 0},
	nt.FileAlignmentInformation:   {4, 0},
	nt.FileAllInformation:         {104, nt.FILE_READ_ATTRIBUTES},
	nt.FileNetworkOpenInformation: {56, nt.FILE_READ_ATTRIBUTES},
	fileAlternateName:             {8, 0},
	fileStream:                    {32, 0},
	fileCompression:               {16, 0},
	fileAttributeTag:              {8, nt.FILE_READ_ATTRIBUTES},
}

var setFileRules = map[uint32]infoRule{
	nt.FileBasicInformation:       {40, nt.FILE_WRITE_ATTRIBUTES},
	nt.FileRenameInformation:      {24, nt.DELETE},
	nt.FileDispositionInformation: {1, nt.DELETE},
	nt.FilePositionInformation:    {8, 0},
	nt.FileModeInformation:        {4, 0},
	nt.FileAllocationInformation:  {8, nt.FILE_WRITE_DATA},
	nt.FileEndOfFileInformation:   {8, nt.FILE_WRITE_DATA},
}

var queryVolumeRules = map[uint32]infoRule{
	nt.FileFsVolumeInformation:    {24, 0},
	nt.FileFsSizeInformation:      {24, 0},
	nt.FileFsDeviceInformation:    {8, 0},
	nt.FileFsAttributeInformation: {16, 0},
	fsControl:                     {48, nt.FILE_READ_DATA},
	nt.FileFsFullSizeInformation:  {32, 0},
	fsObjectID:                    {64, 0},
}

var setVolumeRules = map[uint32]infoRule{
	fsLabel:    {8, nt.FILE_WRITE_DATA},
	fsControl:  {48, nt.FILE_WRITE_DATA},
	fsObjectID: {64, nt.FILE_WRITE_DATA},
}

var directoryRules = map[uint32]infoRule{
	nt.FileDirectoryInformation: {72, nt.FILE_LIST_DIRECTORY},
	directoryFull:               {72, nt.FILE_LIST_DIRECTORY},
	directoryBoth:               {96, nt.FILE_LIST_DIRECTORY},
	directoryNames:              {16, nt.FILE_LIST_DIRECTORY},
	directoryIDBoth:             {112, nt.FILE_LIST_DIRECTORY},
	directoryIDFull:             {88, nt.FILE_LIST_DIRECTORY},
}

// Information classes that only these tables name.
const (
	directoryFull     = 2
	directoryBoth     = 3
	directoryNames    = 12
	fileAlternateName = 21
	fileStream        = 22
	fileCompression   = 28
	fileAttributeTag  = 35
	directoryIDBoth   = 37
	directoryIDFull   = 38

	fsLabel    = 2
	fsControl  = 6
	fsObjectID = 8
)

// check applies the rule for a class: STATUS_INVALID_INFO_CLASS, STATUS_INFO_LENGTH_MISMATCH,
// STATUS_ACCESS_DENIED.
func (r *Request) check(rules map[uint32]infoRule, length int) nt.Status {
	rule, ok := rules[uint32(r.Code)]
	switch {
	case !ok:
		return nt.STATUS_INVALID_INFO_CLASS
	case length < int(rule.length):
		return nt.STATUS_INFO_LENGTH_MISMATCH
	case rule.access&^r.Open.Access != 0:
		return nt.STATUS_ACCESS_DENIED
	}
	return nt.STATUS_SUCCESS
}

// prepareFile makes the IRP of any of these functions, or answers the request.
func (m *Manager) prepareFile(r *Request, i *nt.IRP, loc *nt.IOStackLocation, flags uint32) nt.Status {
	switch r.Major {
	case nt.IRP_MJ_QUERY_INFORMATION:
		return m.prepareQueryFile(r, i, loc)
	case nt.IRP_MJ_SET_INFORMATION:
		return m.prepareSetFile(r, i, loc)
	case nt.IRP_MJ_QUERY_VOLUME_INFORMATION:
		return m.prepareQueryVolume(r, i, loc)
	case nt.IRP_MJ_SET_VOLUME_INFORMATION:
		if status := r.check(setVolumeRules, len(r.In)); status != nt.STATUS_SUCCESS {
			return status
		}
		*loc.Parameters.SetVolume() = nt.ParametersSetVolume{Length: uint32(len(r.In)),
			FsInformationClass: uint32(r.Code)}
		return m.inputBuffer(r, i)
	case nt.IRP_MJ_DIRECTORY_CONTROL:
		return m.prepareDirectory(r, i, loc, flags)
	case nt.IRP_MJ_LOCK_CONTROL:
		return m.prepareLock(r, i, loc)
	case nt.IRP_MJ_QUERY_SECURITY:
		return m.prepareQuerySecurity(r, i, loc)
	case nt.IRP_MJ_SET_SECURITY:
		return m.prepareSetSecurity(r, i, loc)
	}
	return nt.STATUS_INVALID_DEVICE_REQUEST
}

// outputBuffer gives the IRP a system buffer that goes back to the caller.
func (m *Manager) outputBuffer(r *Request, i *nt.IRP) nt.Status {
	i.Flags |= nt.IRP_BUFFERED_IO | nt.IRP_DEALLOCATE_BUFFER | nt.IRP_INPUT_OPERATION |
		nt.IRP_DEFER_IO_COMPLETION
	i.UserBuffer = r.userBase()
	return m.systemBuffer(r, i, nil, r.OutLen)
}

// inputBuffer gives the IRP a system buffer with what the caller sent.
func (m *Manager) inputBuffer(r *Request, i *nt.IRP) nt.Status {
	i.Flags |= nt.IRP_BUFFERED_IO | nt.IRP_DEALLOCATE_BUFFER | nt.IRP_DEFER_IO_COMPLETION
	return m.systemBuffer(r, i, r.In, len(r.In))
}

// userBase stands for the address of a caller's buffer whose data is copied.
func (r *Request) userBase() guest.Addr {
	if r.Open.Window == nil {
		return r.Buffers[1]
	}
	return r.Open.Window.Base()
}

// answer ends a request with a result of the I/O manager's own.
func (r *Request) answer(status nt.Status, out []byte) nt.Status {
	r.Status, r.IOStatus, r.Information = status, status, uint64(len(out))
	if len(out) > 0 {
		r.Written = copy(r.Client.Out(r), out)
	}
	return answered
}

func (r *Request) answer32(v uint32) nt.Status {
	return r.answer(nt.STATUS_SUCCESS, binary.LittleEndian.AppendUint32(nil, v))
}

// Answer does what the I/O manager does of a query or a set of information about a file, its volume
// or a directory before it asks a driver: it checks it and may answer it. It reports whether the
// request is done.
func (r *Request) Answer() (done bool) {
	status := nt.STATUS_SUCCESS
	switch r.Major {
	case nt.IRP_MJ_QUERY_INFORMATION:
		status = r.answerQuery()
	case nt.IRP_MJ_SET_INFORMATION:
		status = r.answerSet()
	case nt.IRP_MJ_QUERY_VOLUME_INFORMATION:
		status = r.answerVolume()
	case nt.IRP_MJ_DIRECTORY_CONTROL:
		status = r.check(directoryRules, r.OutLen)
	}
	if status != nt.STATUS_SUCCESS && status != answered {
		r.Status, r.IOStatus, r.Information, r.Written = status, status, 0, 0
	}
	return status != nt.STATUS_SUCCESS
}

// answerQuery gives STATUS_SUCCESS if a driver is to be asked.
func (r *Request) answerQuery() nt.Status {
	if status := r.check(queryFileRules, r.OutLen); status != nt.STATUS_SUCCESS {
		return status
	}
	file := r.Open.File.Object.Ref()
	class := uint32(r.Code)
	switch {
	case class == nt.FileAccessInformation:
		return r.answer32(r.Open.Access)
	case class == nt.FileModeInformation:
		return r.answer32(fileMode(file.Flags))
	case class == nt.FileAlignmentInformation:
		return r.answer32(r.Open.File.Device.Object.Ref().AlignmentRequirement)
	case class == nt.FilePositionInformation && file.Flags&nt.FO_SYNCHRONOUS_IO != 0:
		return r.answer(nt.STATUS_SUCCESS,
			binary.LittleEndian.AppendUint64(nil, uint64(file.CurrentByteOffset)))
	}
	return nt.STATUS_SUCCESS
}

// Mode gives what FileModeInformation tells of the file.
func (o *Open) Mode() uint32 { return fileMode(o.File.Object.Ref().Flags) }

func (m *Manager) prepareQueryFile(r *Request, i *nt.IRP, loc *nt.IOStackLocation) nt.Status {
	if status := r.answerQuery(); status != nt.STATUS_SUCCESS {
		return status
	}
	file := r.Open.File.Object.Ref()
	alignment := r.Open.File.Device.Object.Ref().AlignmentRequirement
	class := uint32(r.Code)
	*loc.Parameters.QueryFile() = nt.ParametersQueryFile{Length: uint32(r.OutLen),
		FileInformationClass: class}
	status := m.outputBuffer(r, i)
	if status == nt.STATUS_SUCCESS && class == nt.FileAllInformation {
		// The I/O manager fills in its own members; the driver fills in the others.
		const accessAt, modeAt, alignmentAt = 76, 88, 92
		at := i.AssociatedIrp.SystemBuffer
		_ = guest.Store32(at+accessAt, r.Open.Access)
		_ = guest.Store32(at+modeAt, fileMode(file.Flags))
		_ = guest.Store32(at+alignmentAt, alignment)
	}
	return status
}

// modes pairs the flags of a file object with the create options that FILE_MODE_INFORMATION has.
var modes = [...]struct{ flag, option uint32 }{
	{nt.FO_WRITE_THROUGH, nt.FILE_WRITE_THROUGH},
	{nt.FO_SEQUENTIAL_ONLY, nt.FILE_SEQUENTIAL_ONLY},
	{nt.FO_NO_INTERMEDIATE_BUFFERING, nt.FILE_NO_INTERMEDIATE_BUFFERING},
	{nt.FO_DELETE_ON_CLOSE, nt.FILE_DELETE_ON_CLOSE},
}

func fileMode(flags uint32) (mode uint32) {
	for _, m := range modes {
		if flags&m.flag != 0 {
			mode |= m.option
		}
	}
	if flags&nt.FO_SYNCHRONOUS_IO != 0 {
		if flags&nt.FO_ALERTABLE_IO != 0 {
			return mode | nt.FILE_SYNCHRONOUS_IO_ALERT
		}
		return mode | nt.FILE_SYNCHRONOUS_IO_NONALERT
	}
	return mode
}

// answerSet gives STATUS_SUCCESS if a driver is to be asked.
func (r *Request) answerSet() nt.Status {
	if status := r.check(setFileRules, len(r.In)); status != nt.STATUS_SUCCESS {
		return status
	}
	file := r.Open.File.Object.Ref()
	switch class := uint32(r.Code); {
	case class == nt.FilePositionInformation && file.Flags&nt.FO_SYNCHRONOUS_IO != 0:
		position := int64(binary.LittleEndian.Uint64(r.In))
		align := int64(r.Open.File.Device.Object.Ref().AlignmentRequirement)
		if position < 0 ||
			file.Flags&nt.FO_NO_INTERMEDIATE_BUFFERING != 0 && position&align != 0 {
			return nt.STATUS_INVALID_PARAMETER
		}
		file.CurrentByteOffset = position
		return r.answer(nt.STATUS_SUCCESS, nil)
	case class == nt.FileModeInformation:
		return r.answer(setMode(file, binary.LittleEndian.Uint32(r.In)), nil)
	}
	return nt.STATUS_SUCCESS
}

func (m *Manager) prepareSetFile(r *Request, i *nt.IRP, loc *nt.IOStackLocation) nt.Status {
	if status := r.answerSet(); status != nt.STATUS_SUCCESS {
		return status
	}
	p := loc.Parameters.SetFile()
	*p = nt.ParametersSetFile{Length: uint32(len(r.In)), FileInformationClass: uint32(r.Code)}
	if uint32(r.Code) == nt.FileRenameInformation {
		p.DeleteHandle = nt.Handle(r.In[0]) // ReplaceIfExists, which the stack location repeats
	}
	return m.inputBuffer(r, i)
}

// setMode does FileModeInformation: of the options only those that do not change how requests are
// synchronised may change. STATUS_INVALID_PARAMETER ("FILE_MODE_INFORMATION structure").
func setMode(file *nt.FileObject, mode uint32) nt.Status {
	const settable = nt.FILE_WRITE_THROUGH | nt.FILE_SEQUENTIAL_ONLY |
		nt.FILE_SYNCHRONOUS_IO_ALERT | nt.FILE_SYNCHRONOUS_IO_NONALERT
	const synchronous = nt.FILE_SYNCHRONOUS_IO_ALERT | nt.FILE_SYNCHRONOUS_IO_NONALERT
	isSync := file.Flags&nt.FO_SYNCHRONOUS_IO != 0
	switch {
	case mode&^settable != 0,
		mode&synchronous == synchronous,
		mode&synchronous != 0 && !isSync,
		mode&synchronous == 0 && isSync:
		return nt.STATUS_INVALID_PARAMETER
	}
	const change = nt.FO_WRITE_THROUGH | nt.FO_SEQUENTIAL_ONLY | nt.FO_ALERTABLE_IO
	flags := file.Flags &^ change
	for _, m := range modes {
		if mode&m.option != 0 {
			flags |= m.flag
		}
	}
	if mode&nt.FILE_SYNCHRONOUS_IO_ALERT != 0 {
		flags |= nt.FO_ALERTABLE_IO
	}
	file.Flags = flags
	return nt.STATUS_SUCCESS
}

// answerVolume gives STATUS_SUCCESS if a driver is to be asked.
func (r *Request) answerVolume() nt.Status {
	if status := r.check(queryVolumeRules, r.OutLen); status != nt.STATUS_SUCCESS {
		return status
	}
	if uint32(r.Code) == nt.FileFsDeviceInformation {
		dev := r.Open.File.Device.Object.Ref()
		out := binary.LittleEndian.AppendUint32(nil, dev.DeviceType)
		return r.answer(nt.STATUS_SUCCESS, binary.LittleEndian.AppendUint32(out, dev.Characteristics))
	}
	return nt.STATUS_SUCCESS
}

func (m *Manager) prepareQueryVolume(r *Request, i *nt.IRP, loc *nt.IOStackLocation) nt.Status {
	if status := r.answerVolume(); status != nt.STATUS_SUCCESS {
		return status
	}
	*loc.Parameters.QueryVolume() = nt.ParametersQueryVolume{Length: uint32(r.OutLen),
		FsInformationClass: uint32(r.Code)}
	return m.outputBuffer(r, i)
}

// prepareDirectory makes a directory query: In is the pattern in UTF-16, Key the file's index. The
// buffer is passed as the device's flags ask ("IRP_MJ_DIRECTORY_CONTROL").
func (m *Manager) prepareDirectory(r *Request, i *nt.IRP, loc *nt.IOStackLocation,
	flags uint32) nt.Status {
	const known = nt.SL_RESTART_SCAN | nt.SL_RETURN_SINGLE_ENTRY | nt.SL_INDEX_SPECIFIED
	switch {
	case r.Minor != nt.IRP_MN_QUERY_DIRECTORY, r.Flags&^known != 0:
		return nt.STATUS_INVALID_PARAMETER
	case len(r.In)%2 != 0 || len(r.In) > maxName:
		return nt.STATUS_OBJECT_NAME_INVALID
	}
	if status := r.check(directoryRules, r.OutLen); status != nt.STATUS_SUCCESS {
		return status
	}
	p := nt.ParametersQueryDirectory{Length: uint32(r.OutLen), FileInformationClass: uint32(r.Code),
		FileIndex: r.Key}
	if len(r.In) > 0 {
		const header = 16 // UNICODE_STRING
		a, status := m.auxiliary(r, i, header+len(r.In))
		if status != nt.STATUS_SUCCESS {
			return status
		}
		n := uint16(len(r.In))
		name := nt.UnicodeString{Length: n, MaximumLength: n, Buffer: a + header}
		*guest.Ptr[nt.UnicodeString](a).Ref() = name
		if guest.Write(name.Buffer, r.In) != nil {
			return nt.STATUS_ACCESS_VIOLATION
		}
		p.FileName = a
	}
	loc.Flags = r.Flags
	*loc.Parameters.QueryDirectory() = p
	i.Flags |= nt.IRP_DEFER_IO_COMPLETION
	return m.output(r, i, flags)
}

// maxName is the most bytes of a name in a UNICODE_STRING.
const maxName = 0xFFFE

// output passes the output buffer as the device's flags ask.
func (m *Manager) output(r *Request, i *nt.IRP, flags uint32) nt.Status {
	switch {
	case flags&nt.DO_BUFFERED_IO != 0:
		return m.outputBuffer(r, i)
	case flags&nt.DO_DIRECT_IO != 0:
		return m.directOutput(r, i)
	}
	return m.neither(r, 1, r.OutData, r.OutLen, &i.UserBuffer)
}

// auxiliary gives the IRP pool that is freed when it is completed: Tail.Overlay.AuxiliaryBuffer.
func (m *Manager) auxiliary(r *Request, i *nt.IRP, size int) (guest.Addr, nt.Status) {
	a, err := m.allocBuffer(uintptr(size))
	if err != nil {
		return 0, nt.STATUS_INSUFFICIENT_RESOURCES
	}
	r.aux = a
	i.Tail.Overlay.AuxiliaryBuffer = a
	return a, nt.STATUS_SUCCESS
}

// prepareLock makes a lock or an unlock: Offset is where it begins, In its length in 8 bytes, Key
// its key. The handle must be able to read or write ("NtLockFile function (ntifs.h)").
func (m *Manager) prepareLock(r *Request, i *nt.IRP, loc *nt.IOStackLocation) nt.Status {
	const known = nt.SL_FAIL_IMMEDIATELY | nt.SL_EXCLUSIVE_LOCK
	ranged := r.Minor == nt.IRP_MN_LOCK || r.Minor == nt.IRP_MN_UNLOCK_SINGLE
	switch {
	case r.Minor < nt.IRP_MN_LOCK || r.Minor > nt.IRP_MN_UNLOCK_ALL_BY_KEY,
		r.Flags&^known != 0, ranged && len(r.In) != 8, ranged && r.Offset < 0:
		return nt.STATUS_INVALID_PARAMETER
	case r.Open.Access&(nt.FILE_READ_DATA|nt.FILE_WRITE_DATA) == 0:
		return nt.STATUS_ACCESS_DENIED
	}
	p := nt.ParametersLockControl{Key: r.Key}
	if ranged {
		a, status := m.auxiliary(r, i, 8)
		if status != nt.STATUS_SUCCESS {
			return status
		}
		if guest.Write(a, r.In) != nil {
			return nt.STATUS_ACCESS_VIOLATION
		}
		p.Length, p.ByteOffset = a, r.Offset
		r.Open.File.Object.Ref().LockOperation = nt.TRUE
	}
	loc.Flags = r.Flags
	*loc.Parameters.LockControl() = p
	return nt.STATUS_SUCCESS
}

// prepareQuerySecurity asks a driver for the security descriptor of what lies below its device: Code
// is the SECURITY_INFORMATION, and the descriptor, self-relative, goes to the caller's own buffer.
func (m *Manager) prepareQuerySecurity(r *Request, i *nt.IRP, loc *nt.IOStackLocation) nt.Status {
	need := nt.READ_CONTROL
	if uint32(r.Code)&nt.SACL_SECURITY_INFORMATION != 0 {
		need |= nt.ACCESS_SYSTEM_SECURITY
	}
	if need&^r.Open.Access != 0 {
		return nt.STATUS_ACCESS_DENIED
	}
	if m.Security != nil && r.Open.ownSecurity() {
		sd, status := m.Security.Query(r.Open.File.Device, uint32(r.Code))
		switch {
		case status != nt.STATUS_SUCCESS:
			return status
		case len(sd) > r.OutLen:
			r.answer(nt.STATUS_BUFFER_TOO_SMALL, nil)
			r.Information = uint64(len(sd))
			return answered
		}
		return r.answer(nt.STATUS_SUCCESS, sd)
	}
	*loc.Parameters.QuerySecurity() = nt.ParametersQuerySecurity{SecurityInformation: uint32(r.Code),
		Length: uint32(r.OutLen)}
	return m.neither(r, 1, nil, r.OutLen, &i.UserBuffer)
}

// prepareSetSecurity hands a driver a self-relative security descriptor.
func (m *Manager) prepareSetSecurity(r *Request, i *nt.IRP, loc *nt.IOStackLocation) nt.Status {
	need := uint32(0)
	if uint32(r.Code)&(nt.OWNER_SECURITY_INFORMATION|nt.GROUP_SECURITY_INFORMATION) != 0 {
		need |= nt.WRITE_OWNER
	}
	if uint32(r.Code)&nt.DACL_SECURITY_INFORMATION != 0 {
		need |= nt.WRITE_DAC
	}
	if uint32(r.Code)&nt.SACL_SECURITY_INFORMATION != 0 {
		need |= nt.ACCESS_SYSTEM_SECURITY
	}
	if need&^r.Open.Access != 0 {
		return nt.STATUS_ACCESS_DENIED
	}
	if !nt.ValidRelativeDescriptor(r.In) {
		return nt.STATUS_INVALID_SECURITY_DESCR
	}
	if m.Security != nil && r.Open.ownSecurity() {
		return r.answer(m.Security.Set(r.Open.File.Device, uint32(r.Code), r.In), nil)
	}
	a, status := m.auxiliary(r, i, len(r.In))
	if status != nt.STATUS_SUCCESS {
		return status
	}
	if guest.Write(a, r.In) != nil {
		return nt.STATUS_ACCESS_VIOLATION
	}
	*loc.Parameters.SetSecurity() = nt.ParametersSetSecurity{SecurityInformation: uint32(r.Code),
		SecurityDescriptor: a}
	return nt.STATUS_SUCCESS
}

// ownSecurity reports whether the file is the device itself, whose security is the I/O manager's and
// not its driver's.
func (o *Open) ownSecurity() bool {
	f := o.File.Object.Ref()
	return f.FileName.Length == 0 && f.RelatedFileObject == 0 || f.Flags&nt.FO_DIRECT_DEVICE_OPEN != 0
}
