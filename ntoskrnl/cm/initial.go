package cm

import "github.com/drvhost/drvhost/nt"

// System is what the initial tree says of the system.
type System struct {
	Processors   int
	ComputerName string
	// Processor describes the processor: "GenuineIntel", "Intel(R) Core(TM) …", MHz.
	Vendor, Model string
	MHz           uint32
}

// Initial makes a registry with the keys that drivers expect of a Windows 10 22H2, build 19045.
func Initial(s System) *Registry {
	r := New()
	for _, e := range initial {
		r.must(e.key, e.values...)
	}
	// \Registry\Machine\System\CurrentControlSet is a link on Windows too.
	const control = `\Registry\Machine\System\ControlSet001`
	k, _, _ := r.Create(nil, `\Registry\Machine\System\CurrentControlSet`,
		CreateOptions{Link: true})
	k.Set("SymbolicLinkValue", nt.REG_LINK, Encode(control, false))
	name := `\Control\ComputerName`
	computer := text("ComputerName", s.ComputerName)
	r.must(control+name+`\ComputerName`, computer)
	r.must(control+name+`\ActiveComputerName`, computer)
	r.must(control+`\Control\Session Manager\Environment`,
		text("NUMBER_OF_PROCESSORS", number(s.Processors)), text("OS", "Windows_NT"),
		text("PROCESSOR_ARCHITECTURE", "AMD64"),
		Value{"windir", nt.REG_EXPAND_SZ, SZ("%SystemRoot%")})
	const hardware = `\Registry\Machine\Hardware`
	r.volatile(hardware + `\Description\System`)
	r.volatile(hardware + `\DeviceMap`)
	r.volatile(hardware + `\ResourceMap`)
	for i := range s.Processors {
		r.volatile(hardware+`\Description\System\CentralProcessor\`+number(i),
			text("VendorIdentifier", s.Vendor), text("ProcessorNameString", s.Model),
			Value{"~MHz", nt.REG_DWORD, DWord(s.MHz)})
	}
	return r
}

var initial = []struct {
	key    string
	values []Value
}{
	{`\Registry\Machine\System\Select`, []Value{dword("Current", 1), dword("Default", 1),
		dword("Failed", 0), dword("LastKnownGood", 1)}},
	{`\Registry\Machine\System\ControlSet001\Control`, []Value{
		text("SystemStartOptions", " NOEXECUTE=OPTIN"),
		text("FirmwareBootDevice", "multi(0)disk(0)rdisk(0)partition(1)")}},
	{`\Registry\Machine\System\ControlSet001\Control\Class`, nil},
	{`\Registry\Machine\System\ControlSet001\Control\CrashControl`, []Value{
		dword("AutoReboot", 1), dword("CrashDumpEnabled", 0)}},
	{`\Registry\Machine\System\ControlSet001\Control\ProductOptions`, []Value{
		text("ProductType", "WinNT")}},
	{`\Registry\Machine\System\ControlSet001\Control\SafeBoot`, nil},
	{`\Registry\Machine\System\ControlSet001\Control\Session Manager\Memory Management`, nil},
	{`\Registry\Machine\System\ControlSet001\Control\Windows`, nil},
	{`\Registry\Machine\System\ControlSet001\Enum\Root`, nil},
	{`\Registry\Machine\System\ControlSet001\Hardware Profiles\Current`, nil},
	{`\Registry\Machine\System\ControlSet001\Services`, nil},
	{`\Registry\Machine\Software\Classes`, nil},
	{`\Registry\Machine\Software\Microsoft\Windows\CurrentVersion`, []Value{
		text("ProgramFilesDir", `C:\Program Files`)}},
	{`\Registry\Machine\Software\Microsoft\Windows NT\CurrentVersion`, []Value{
		text("SystemRoot", `C:\Windows`), text("ProductName", "Windows 10 Pro"),
		text("CurrentVersion", "6.3"), text("CurrentBuild", "19045"),
		text("CurrentBuildNumber", "19045"), text("CurrentType", "Multiprocessor Free"),
		text("DisplayVersion", "22H2"), text("ReleaseId", "2009"), text("EditionID", "Professional"),
		text("InstallationType", "Client"), text("BuildBranch", "vb_release"),
		dword("CurrentMajorVersionNumber", 10), dword("CurrentMinorVersionNumber", 0),
		dword("UBR", 0)}},
	{`\Registry\User\.Default`, nil},
}

func text(name, s string) Value         { return Value{name, nt.REG_SZ, SZ(s)} }
func dword(name string, v uint32) Value { return Value{name, nt.REG_DWORD, DWord(v)} }

func number(i int) string {
	if i >= 10 {
		return number(i/10) + number(i%10)
	}
	return string(rune('0' + i))
}

// must makes a key of the initial tree, of which nothing can be refused.
func (r *Registry) must(path string, values ...Value) {
	r.fill(path, CreateOptions{Parents: true}, values)
}

func (r *Registry) volatile(path string, values ...Value) {
	r.fill(path, CreateOptions{Parents: true, Volatile: true}, values)
}

func (r *Registry) fill(path string, o CreateOptions, values []Value) {
	k, _, status := r.Create(nil, path, o)
	if status != nt.STATUS_SUCCESS {
		panic("cm: " + path + ": " + status.Error())
	}
	for _, v := range values {
		k.Set(v.Name, v.Type, v.Data)
	}
}
