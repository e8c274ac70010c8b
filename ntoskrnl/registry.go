package ntoskrnl

import (
	"os"
	"strings"
	"sync"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
)

// kernelRegistry is a kernel's registry: the one that it was given, or one of its own, made when it
// is first needed.
type kernelRegistry struct {
	registryMade sync.Once
	registry     *cm.Registry
	newServices  []string // whose keys may have to be made; under Kernel.mu

	openKeys openKeys // with an object
	keyNames sync.Map // that CmCallbackGetKeyObjectIDEx has given: guest.Addr

	registryOnce       sync.Once
	registryRootObject *ob.Object
}

// Registry gives the kernel's registry.
func (k *Kernel) Registry() *cm.Registry {
	k.registryMade.Do(func() {
		if k.registry = k.opts.Registry; k.registry != nil {
			return
		}
		k.registry = NewRegistry(k.opts.Processors)
	})
	k.mu.Lock()
	services := k.newServices
	k.newServices = nil
	k.mu.Unlock()
	for _, name := range services {
		k.describeService(name)
	}
	return k.registry
}

// addService has the key of a driver's service made, if there is none, before anybody looks.
func (k *Kernel) addService(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.newServices = append(k.newServices, name)
}

// NewRegistry makes a registry with what drivers expect to be there. 0 processors are as many as a kernel
// has by default.
func NewRegistry(processors int) *cm.Registry {
	if processors == 0 {
		processors = defaultProcessors()
	}
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "drvhost"
	}
	name, _, _ = strings.Cut(name, ".")
	const longest = 15 // MAX_COMPUTERNAME_LENGTH
	if len(name) > longest {
		name = name[:longest]
	}
	return cm.Initial(cm.System{Processors: processors, ComputerName: strings.ToUpper(name),
		Vendor: "GenuineIntel", Model: "drvhost virtual processor", MHz: processorMHz})
}

// processorMHz is how fast a virtual processor is said to be.
const processorMHz = 1000

// describeService makes the key of a service, if there is none.
func (k *Kernel) describeService(name string) {
	key, created, status := k.registry.Create(nil, Services+name, cm.CreateOptions{Parents: true})
	if status != nt.STATUS_SUCCESS {
		k.log.Warn("no registry key for the service", "service", name, "status", status.Error())
		return
	}
	if !created {
		return
	}
	for _, v := range []cm.Value{
		{Name: "Type", Type: nt.REG_DWORD, Data: cm.DWord(1)},  // SERVICE_KERNEL_DRIVER
		{Name: "Start", Type: nt.REG_DWORD, Data: cm.DWord(3)}, // SERVICE_DEMAND_START
		{Name: "ErrorControl", Type: nt.REG_DWORD, Data: cm.DWord(1)},
		{Name: "ImagePath", Type: nt.REG_EXPAND_SZ,
			Data: cm.SZ(`\SystemRoot\System32\drivers\` + name + ".sys")},
	} {
		key.Set(v.Name, v.Type, v.Data)
	}
}
