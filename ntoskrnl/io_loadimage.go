package ntoskrnl

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
	"github.com/drvhost/drvhost/ntoskrnl/volume"
	"github.com/drvhost/drvhost/pe"
)

// The images of services: where a service's key says that its driver's file is, and what is in
// that.

// The types of services that ZwLoadDriver loads ("HKLM\SYSTEM\CurrentControlSet\Services Registry
// Tree").
const (
	serviceKernelDriver     = 1
	serviceFileSystemDriver = 2
	serviceRecognizerDriver = 8
)

// maxServiceImage is how large a driver's file may be, in bytes.
const maxServiceImage = 256 << 20

// serviceImage gives the path of a service's image: what ImagePath says, below \SystemRoot if it is
// relative; \SystemRoot\System32\drivers and the service's name without one.
func serviceImage(key *cm.Key, name string) (path string, status nt.Status) {
	v, status := key.Value("Type")
	number, ok := v.Number()
	if status != nt.STATUS_SUCCESS || !ok {
		return "", nt.STATUS_ILL_FORMED_SERVICE_ENTRY
	}
	switch number {
	case serviceKernelDriver, serviceFileSystemDriver, serviceRecognizerDriver:
	default:
		return "", nt.STATUS_ILL_FORMED_SERVICE_ENTRY
	}
	if v, status = key.Value("ImagePath"); status == nt.STATUS_SUCCESS {
		path = v.Text()
	}
	switch {
	case path == "":
		return `\SystemRoot\System32\drivers\` + name + ".sys", nt.STATUS_SUCCESS
	case path[0] != '\\' && path[0] != '/':
		return `\SystemRoot\` + path, nt.STATUS_SUCCESS
	}
	return path, nt.STATUS_SUCCESS
}

// openImage reads the image at a path: of a file on a volume, or, with or without \??\ before it,
// an absolute path of Linux. A host in its sandbox cannot open the latter any more.
func (k *Kernel) openImage(path string) (*pe.Image, nt.Status) {
	var data []byte
	var status nt.Status
	host := strings.TrimPrefix(path, `\??\`)
	if filepath.IsAbs(host) {
		data, status = readHostFile(filepath.Clean(host))
	} else {
		host = path[strings.LastIndexByte(path, '\\')+1:]
		data, status = k.readVolumeFile(path)
	}
	if status != nt.STATUS_SUCCESS {
		k.log.Warn("a driver's image cannot be read", "path", path, "status", status.Error())
		return nil, status
	}
	img, err := pe.Parse(filepath.Base(host), data)
	if err != nil {
		k.log.Warn("a driver's image", "path", path, "error", err)
		return nil, nt.STATUS_INVALID_IMAGE_FORMAT
	}
	if k.opts.CheckImage != nil {
		if err := k.opts.CheckImage(img); err != nil {
			k.log.Warn("a driver's image is refused", "path", path, "error", err)
			return nil, nt.STATUS_INVALID_IMAGE_HASH
		}
	}
	return img, nt.STATUS_SUCCESS
}

func readHostFile(path string) ([]byte, nt.Status) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, hostFileStatus(err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, hostFileStatus(err)
	case !info.Mode().IsRegular():
		return nil, nt.STATUS_OBJECT_TYPE_MISMATCH
	case info.Size() > maxServiceImage:
		return nil, nt.STATUS_INVALID_IMAGE_FORMAT
	}
	data, err := io.ReadAll(io.LimitReader(f, maxServiceImage))
	if err != nil {
		return nil, hostFileStatus(err)
	}
	return data, nt.STATUS_SUCCESS
}

func hostFileStatus(err error) nt.Status {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nt.STATUS_OBJECT_NAME_NOT_FOUND
	case errors.Is(err, os.ErrPermission):
		return nt.STATUS_ACCESS_DENIED
	}
	return nt.STATUS_UNSUCCESSFUL
}

func (k *Kernel) readVolumeFile(path string) ([]byte, nt.Status) {
	o, rest, status := k.Ob.LookupReference(path)
	if status != nt.STATUS_SUCCESS {
		return nil, status
	}
	defer func() { _, _ = k.Ob.Dereference(o.Addr) }()
	dev, ok := o.Body.(*devobj.Device)
	if !ok || k.volumes[dev] == nil {
		return nil, nt.STATUS_OBJECT_TYPE_MISMATCH
	}
	f, _, status := k.volumes[dev].Open(volume.Request{Name: rest, Access: nt.FILE_READ_DATA,
		Share: nt.FILE_SHARE_READ | nt.FILE_SHARE_DELETE, Disposition: nt.FILE_OPEN,
		Options: nt.FILE_NON_DIRECTORY_FILE})
	if status != nt.STATUS_SUCCESS {
		return nil, status
	}
	defer f.Close()
	size := f.Size()
	if size > maxServiceImage {
		return nil, nt.STATUS_INVALID_IMAGE_FORMAT
	}
	data := make([]byte, size)
	for at := 0; at < len(data); {
		n, status := f.ReadAt(data[at:], int64(at))
		if status == nt.STATUS_END_OF_FILE || status == nt.STATUS_SUCCESS && n == 0 {
			return data[:at], nt.STATUS_SUCCESS // it has become shorter
		}
		if status != nt.STATUS_SUCCESS {
			return nil, status
		}
		at += n
	}
	return data, nt.STATUS_SUCCESS
}
