package service

// In which order services are started.

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// groupOrder is what the registry says of load order groups.
type groupOrder struct {
	rank map[string]int            // of a group, by its folded name: Control\ServiceGroupOrder, List
	tags map[string]map[uint32]int // of its tags: Control\GroupOrderList, a value a group
}

func readGroupOrder(r *cm.Registry) groupOrder {
	o := groupOrder{map[string]int{}, map[string]map[uint32]int{}}
	if k, status := r.Open(nil, controlKey+`\ServiceGroupOrder`, false); status.Success() {
		if v, status := k.Value("List"); status.Success() {
			for i, name := range v.Texts() {
				if _, twice := o.rank[cm.Fold(name)]; !twice {
					o.rank[cm.Fold(name)] = i
				}
			}
		}
	}
	if k, status := r.Open(nil, controlKey+`\GroupOrderList`, false); status.Success() {
		for i := 0; ; i++ {
			v, status := k.ValueAt(i)
			if !status.Success() {
				break
			}
			if len(v.Data) < 4 {
				continue
			}
			tags := map[uint32]int{}
			n := binary.LittleEndian.Uint32(v.Data)
			for at := 4; at+4 <= len(v.Data) && n > 0; at, n = at+4, n-1 {
				tags[binary.LittleEndian.Uint32(v.Data[at:])] = at
			}
			o.tags[cm.Fold(v.Name)] = tags
		}
	}
	return o
}

// rankOf gives the place of a group: listed ones, then others, then none.
func (o groupOrder) rankOf(group string) int {
	if group == "" {
		return len(o.rank) + 1
	}
	if r, ok := o.rank[cm.Fold(group)]; ok {
		return r
	}
	return len(o.rank)
}

// tagOf gives the place of a service within its group: listed tags, then others, then none.
func (o groupOrder) tagOf(c *Config) uint64 {
	if c.Tag == 0 {
		return 1 << 63
	}
	if at, ok := o.tags[cm.Fold(c.Group)][c.Tag]; ok {
		return uint64(at)
	}
	return 1<<62 + uint64(c.Tag)
}

// sort puts services into the order in which a system starts them: by start type, group and tag.
func (o groupOrder) sort(all []Config) {
	slices.SortStableFunc(all, func(a, b Config) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(o.rankOf(a.Group), o.rankOf(b.Group)),
			cmp.Compare(o.tagOf(&a), o.tagOf(&b)), cmp.Compare(cm.Fold(a.Name), cm.Fold(b.Name)))
	})
}

// waves cuts what sort has sorted into what is started one after the other: services of one start
// type and group without tags are started at once.
func (o groupOrder) waves(all []Config) (waves [][]Config) {
	for i := range all {
		if i > 0 {
			a, b := &all[i-1], &all[i]
			if a.Start == b.Start && o.rankOf(a.Group) == o.rankOf(b.Group) && a.Tag == 0 && b.Tag == 0 {
				last := len(waves) - 1
				waves[last] = append(waves[last], *b)
				continue
			}
		}
		waves = append(waves, []Config{all[i]})
	}
	return waves
}

// dependencies gives, by folded name, whom each service depends on: by name, and as a member of a
// group.
func dependencies(all []Config) map[string][]string {
	groups := map[string][]string{}
	for i := range all {
		if g := all[i].Group; g != "" {
			groups[cm.Fold(g)] = append(groups[cm.Fold(g)], cm.Fold(all[i].Name))
		}
	}
	on := make(map[string][]string, len(all))
	for i := range all {
		name := cm.Fold(all[i].Name)
		for _, d := range all[i].DependOnService {
			on[name] = append(on[name], cm.Fold(d))
		}
		for _, g := range all[i].DependOnGroup {
			on[name] = append(on[name], groups[cm.Fold(g)]...)
		}
	}
	return on
}

// circular says whether a service depends on itself, by others.
func circular(on map[string][]string, name string) bool {
	name = cm.Fold(name)
	seen := map[string]bool{}
	next := slices.Clone(on[name])
	for len(next) > 0 {
		n := next[len(next)-1]
		next = next[:len(next)-1]
		if n == name {
			return true
		}
		if !seen[n] {
			seen[n] = true
			next = append(next, on[n]...)
		}
	}
	return false
}

// loadOrder are the load order groups that a registry without a list gets: those of Windows that
// drivers name, first to last ("Load Order Groups").
var loadOrder = []string{"System Reserved", "EMS", "WdfLoadGroup", "Boot Bus Extender",
	"System Bus Extender", "SCSI miniport", "Port", "Primary Disk", "SCSI Class", "SCSI CDROM Class",
	"FSFilter Infrastructure", "FSFilter System", "FSFilter Bottom", "FSFilter Encryption",
	"FSFilter Virtualization", "FSFilter Physical Quota Management", "FSFilter Replication",
	"FSFilter Anti-Virus", "FSFilter Undelete", "FSFilter Activity Monitor", "FSFilter Top", "Filter",
	"Boot File System", "Base", "Pointer Port", "Keyboard Port", "Pointer Class", "Keyboard Class",
	"Video Init", "Video", "Video Save", "File System", "Streams Drivers", "NDIS Wrapper",
	"COM Infrastructure", "PNP_TDI", "NDIS", "TDI", "NetBIOSGroup", "SmartCardGroup", "NetworkProvider",
	"Extended Base"}

// seedGroupOrder gives a registry the list of groups, if it has none.
func seedGroupOrder(r *cm.Registry) error {
	k, _, status := r.Create(nil, controlKey+`\ServiceGroupOrder`, cm.CreateOptions{Parents: true})
	if status.Success() {
		if _, has := k.Value("List"); !has.Success() {
			status = k.Set("List", nt.REG_MULTI_SZ, cm.MultiSZ(loadOrder...))
		}
	}
	if !status.Success() {
		return &Error{FromStatus(status), "key ServiceGroupOrder"}
	}
	return nil
}
