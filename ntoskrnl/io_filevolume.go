package ntoskrnl

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/drvhost/drvhost/devobj"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/volume"
)

// Volumes: directories of the host's that stand for drives. Each is a device \Device\HarddiskVolumeN
// with the Win32 name of its drive; \SystemRoot is C:\Windows.

// volumes are the volumes of a kernel by their devices. It does not change after New.
type volumes map[*devobj.Device]*volume.Volume

// volumeDriver is the service whose devices the volumes are, as on Windows.
const volumeDriver = "volmgr"

// ParseVolume reads the DRIVE=DIR of a command line: "C=/tmp/c".
func ParseVolume(arg string) (drive, dir string, err error) {
	drive, dir, ok := strings.Cut(arg, "=")
	drive = strings.ToUpper(strings.TrimSuffix(drive, ":"))
	if !ok || len(drive) != 1 || drive < "A" || drive > "Z" || dir == "" {
		return "", "", fmt.Errorf("%q is no volume: want a drive's letter, = and a directory", arg)
	}
	return drive, dir, nil
}

// mountVolumes opens the directories, by drive letter, and makes their devices.
func (k *Kernel) mountVolumes(dirs map[string]string) error {
	if len(dirs) == 0 {
		return nil
	}
	k.volumes = make(volumes)
	d, err := k.Dev.CreateDriver(devobj.DriverInfo{Service: volumeDriver,
		DefaultDispatch: k.symbol("IopInvalidDeviceRequest")})
	if err != nil {
		return err
	}
	for i, drive := range slices.Sorted(maps.Keys(dirs)) {
		v, err := volume.Open(dirs[drive])
		if err != nil {
			return fmt.Errorf("volume %s: %w", drive, err)
		}
		const fileSystem = 0x08 // FILE_DEVICE_DISK_FILE_SYSTEM
		dev, status := k.Dev.CreateDevice(d, devobj.DeviceInfo{Type: fileSystem,
			Name: fmt.Sprintf(`\Device\HarddiskVolume%d`, i+1), Characteristics: mountedVolume})
		if status != nt.STATUS_SUCCESS {
			return fmt.Errorf("volume %s: %w", drive, status)
		}
		k.volumes[dev] = v
		status = k.Ob.CreateLink(`\??\`+drive+`:`, dev.Name)
		if status == nt.STATUS_SUCCESS && drive == "C" {
			status = k.Ob.CreateLink(`\SystemRoot`, dev.Name+`\Windows`)
		}
		if status != nt.STATUS_SUCCESS {
			return fmt.Errorf("volume %s: %w", drive, status)
		}
	}
	k.Dev.Initialized(d)
	return nil
}

// mountedVolume is FILE_DEVICE_IS_MOUNTED.
const mountedVolume = 0x20

// IsDrive reports whether a Win32 name is a volume's, and so no device of a driver's.
func (k *Kernel) IsDrive(name string) bool {
	if len(k.volumes) == 0 || !strings.HasSuffix(name, ":") {
		return false
	}
	o, _, status := k.Ob.Lookup(`\??\` + name)
	if status != nt.STATUS_SUCCESS {
		return false
	}
	dev, ok := o.Body.(*devobj.Device)
	return ok && k.volumes[dev] != nil
}

func (k *Kernel) unmountVolumes() (err error) {
	for _, v := range k.volumes {
		if e := v.Close(); e != nil {
			err = e
		}
	}
	return err
}
