package doctor

// The looks at the machine themselves.

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"

	"github.com/drvhost/drvhost/engine/native"
)

func kernelVersion() (string, bool) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err.Error(), false
	}
	release := unix.ByteSliceToString(u.Release[:])
	return "Linux " + release, atLeast(release, 5, 11)
}

// atLeast compares a release such as 6.1.0-13-amd64 with a version.
func atLeast(release string, major, minor int) bool {
	parts := strings.FieldsFunc(release, func(r rune) bool { return r < '0' || r > '9' })
	if len(parts) < 2 {
		return false
	}
	a, _ := strconv.Atoi(parts[0])
	b, _ := strconv.Atoi(parts[1])
	return a > major || a == major && b >= minor
}

func yesNo(ok bool) (string, bool) {
	if ok {
		return "yes", true
	}
	return "no", false
}

func fsgsbase() (string, bool) {
	const atHwcap2, hwcap2FSGSBase = 26, 2
	aux, err := unix.Auxv()
	if err != nil {
		return err.Error(), false
	}
	for _, kv := range aux {
		if kv[0] == atHwcap2 {
			return yesNo(kv[1]&hwcap2FSGSBase != 0)
		}
	}
	return yesNo(false)
}

func xsave() (string, bool) { return yesNo(cpu.X86.HasOSXSAVE) }

// userDispatch turns the dispatch off, on a thread where it never was on: a kernel that does not
// know it says EINVAL.
func userDispatch() (string, bool) {
	const off = 0
	if err := unix.Prctl(unix.PR_SET_SYSCALL_USER_DISPATCH, off, 0, 0, 0); err != nil {
		return err.Error(), false
	}
	return yesNo(true)
}

// reservations reserves as much as a host does, anywhere.
func reservations() (string, bool) {
	const size = 64 << 30
	m, err := unix.MmapPtr(-1, 0, nil, size, unix.PROT_NONE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return err.Error(), false
	}
	if err := unix.MunmapPtr(m, size); err != nil {
		return err.Error(), false
	}
	return yesNo(true)
}

// lowAddresses tells whether the image base 0x10000 can be had. The limit is not everything: a
// process with CAP_SYS_RAWIO is above it.
func lowAddresses() (string, bool) {
	const base, size = 0x10000, 0x1000
	found := strings.TrimSpace(readFile("/proc/sys/vm/mmap_min_addr"))
	ok := mapsAt(base, size)
	if !ok {
		found += ", and nothing can be mapped at 0x10000"
	}
	return found, ok
}

func memfdSeals() (string, bool) {
	const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	return sealed(0, seals)
}

func memfdNoExec() (string, bool) { return sealed(unix.MFD_NOEXEC_SEAL, 0) }

// sealed makes a memfd and seals it.
func sealed(flags, seals int) (string, bool) {
	fd, err := unix.MemfdCreate("drvhost-doctor", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|flags)
	if err != nil {
		return err.Error(), false
	}
	defer unix.Close(fd)
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return err.Error(), false
	}
	return yesNo(true)
}

func membarrier() (string, bool) {
	const query, private = 0, 1 << 4 // MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED
	have, _, e := unix.Syscall(unix.SYS_MEMBARRIER, query, 0, 0)
	if e != 0 {
		return e.Error(), false
	}
	return yesNo(have&private != 0)
}

func maxMapCount() (string, bool) {
	const enough = 65530 // the default
	found := strings.TrimSpace(readFile("/proc/sys/vm/max_map_count"))
	n, err := strconv.Atoi(found)
	if err != nil {
		return "not known", false
	}
	return found, n >= enough
}

// clockSource tells whether the vDSO reads the clock without a system call.
func clockSource() (string, bool) {
	const path = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
	found := strings.TrimSpace(readFile(path))
	switch found {
	case "":
		return "not known", true
	case "tsc", "kvm-clock", "hyperv_clocksource_tsc_page":
		return found, true
	}
	return found, false
}

func kvm() (string, bool) {
	const getAPIVersion = 0xAE00
	fd, err := unix.Open("/dev/kvm", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "/dev/kvm: " + err.Error(), false
	}
	defer unix.Close(fd)
	v, err := unix.IoctlRetInt(fd, getAPIVersion)
	if err != nil {
		return "/dev/kvm: " + err.Error(), false
	}
	return fmt.Sprintf("API %d", v), v == 12
}

// protectionKeys asks the engine.
func protectionKeys() (string, bool) {
	if err := native.KeysAvailable(); err != nil {
		return err.Error(), false
	}
	return "yes", true
}

func umip() (string, bool) {
	for line := range bytes.Lines([]byte(readFile("/proc/cpuinfo"))) {
		if bytes.HasPrefix(line, []byte("flags")) {
			for _, f := range bytes.Fields(line) {
				if string(f) == "umip" {
					return yesNo(true)
				}
			}
			return yesNo(false)
		}
	}
	return "not known", false
}

// readFile gives a small file's contents, or "".
func readFile(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(data)
}
