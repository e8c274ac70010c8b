package service

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// checked asks a guard as the registry's server does.
func checked(g *Guard, pid int, c cm.Change) nt.Status {
	key, status := g.registry.Resolve(c.Key, c.Op != cm.OpCreateKey || c.Link)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	c.Key = key
	return g.Check(pid, c)
}

func TestAHostTouchesNoServiceThatIsNotItsOwn(t *testing.T) {
	r := cm.Initial(cm.System{})
	require.NoError(t, seedGroupOrder(r))
	register := func(c Config) {
		k, _, status := r.Create(nil, ServicesKey+`\`+c.Name, cm.CreateOptions{Parents: true})
		require.True(t, status.Success())
		c.Type, c.ImagePath, c.Start = KernelDriver, "/x.sys", AutoStart
		require.NoError(t, c.store(k))
		_, _, status = r.Create(k, "Parameters", cm.CreateOptions{})
		require.True(t, status.Success())
	}
	register(Config{Name: "Mine"})
	register(Config{Name: "Friend", HostGroup: "stack"})
	register(Config{Name: "Victim"})
	_, _, status := r.Create(nil, ServicesKey+`\Half`, cm.CreateOptions{})
	require.True(t, status.Success())
	link, _, status := r.Create(nil, ServicesKey+`\Mine\Parameters\Link`, cm.CreateOptions{Link: true})
	require.True(t, status.Success())
	require.True(t, link.Set("SymbolicLinkValue", nt.REG_LINK,
		cm.Encode(`\Registry\Machine\System\ControlSet001\Services\Victim`, false)).Success())
	g := NewGuard(r)
	const me, friend, tool = 7, 8, 9
	g.host(me, unitKey(&Config{Name: "mine"}))
	g.host(friend, unitKey(&Config{Name: "Friend", HostGroup: "STACK"}))
	const services = `\Registry\Machine\System\CurrentControlSet\Services`
	const real = `\REGISTRY\Machine\SYSTEM\controlset001\services`
	set := func(key, name string, data ...byte) cm.Change {
		return cm.Change{Op: cm.OpSetValue, Key: key, Name: name, Type: nt.REG_DWORD, Data: data}
	}
	start := func(key string, s Start) cm.Change {
		return cm.Change{Op: cm.OpSetValue, Key: key, Name: "start", Type: nt.REG_DWORD,
			Data: cm.DWord(uint32(s))}
	}
	for _, c := range []struct {
		fact string
		c    cm.Change
		may  bool
	}{
		{"its parameters", set(services+`\Mine\Parameters`, "x"), true},
		{"its start type", start(services+`\Mine`, BootStart), true},
		{"its own values", set(services+`\Mine`, "Whatever"), true},
		{"its image", set(services+`\Mine`, "ImagePath"), false},
		{"its host group", set(services+`\Mine`, "HostGroup"), false},
		{"its command", set(services+`\Mine`, "FailureCommand"), false},
		{"its failure actions, in other letters", set(real+`\MINE`, "failureactions"), false},
		{"its deletion", cm.Change{Op: cm.OpDeleteKey, Key: services + `\Mine`}, false},
		{"its name", cm.Change{Op: cm.OpRenameKey, Key: services + `\Mine`, Name: "Other"}, false},
		{"another one's image", set(services+`\Victim`, "ImagePath"), false},
		{"another one's image, by the real path", set(real+`\victim`, "imagepath"), false},
		{"a value of its own link", set(services+`\Mine\Parameters\Link\`, "ImagePath"), true},
		{"what the link leads to", set(services+`\Mine\Parameters\Link\Parameters`, "x"), false},
		{"a key by the link", cm.Change{Op: cm.OpCreateKey,
			Key: services + `\Mine\Parameters\Link\New`}, false},
		{"another one's start type", start(services+`\Victim`, DisabledStart), false},
		{"another one's parameters", set(services+`\Victim\Parameters`, "x"), false},
		{"a key of another one", cm.Change{Op: cm.OpCreateKey, Key: services + `\Victim\New`}, false},
		{"another one of another host", set(services+`\Friend`, "Whatever"), false},
		{"another one's security", cm.Change{Op: cm.OpSetSecurity, Key: services + `\Victim`}, false},
		{"all services", cm.Change{Op: cm.OpRenameKey, Key: services, Name: "x"}, false},
		{"the control set", cm.Change{Op: cm.OpRenameKey,
			Key: `\Registry\Machine\System\ControlSet001`, Name: "x"}, false},
		{"the link to the control set", set(`\Registry\Machine\System\CurrentControlSet`,
			"SymbolicLinkValue"), false},
		{"the order of groups", set(`\Registry\Machine\System\CurrentControlSet\Control\`+
			`ServiceGroupOrder`, "List"), false},
		{"what lies beside", set(`\Registry\Machine\System\CurrentControlSet\Control`, "x"), true},
		{"software", set(`\Registry\Machine\Software`, "x"), true},
		{"what is no service, and becomes one", set(services+`\Half`, "ImagePath"), true},
		{"and starts by itself", start(services+`\Half`, AutoStart), false},
		{"and when it is asked to", start(services+`\Half`, DemandStart), true},
		{"and with others", set(services+`\Half`, "HostGroup"), false},
		{"a link among the services", cm.Change{Op: cm.OpCreateKey, Key: services + `\L`, Link: true},
			false},
		{"a link, by a path that ends in a backslash", cm.Change{Op: cm.OpCreateKey,
			Key: services + `\L\`, Link: true}, false},
	} {
		t.Run(c.fact, func(t *testing.T) {
			assert.Equal(t, c.may, checked(g, me, c.c) == nt.STATUS_SUCCESS)
			assert.Equal(t, nt.STATUS_SUCCESS, checked(g, tool, c.c), "a tool may do anything")
		})
	}
	assert.Equal(t, nt.STATUS_SUCCESS, checked(g, friend, set(services+`\Friend`, "Whatever")))
	assert.NotEqual(t, nt.STATUS_SUCCESS, checked(g, friend, set(services+`\Mine`, "Whatever")))
	g.gone(me, "service OTHER")
	assert.NotEqual(t, nt.STATUS_SUCCESS, checked(g, me, set(services+`\Victim`, "x")))
}

func TestAHostRegistersServicesThatAreItsOwnUntilSomebodyChangesThem(t *testing.T) {
	r := cm.Initial(cm.System{})
	g := NewGuard(r)
	const me, other = 7, 8
	g.host(me, "service ME")
	g.host(other, "service OTHER")
	do := func(pid int, c cm.Change) bool {
		if checked(g, pid, c) != nt.STATUS_SUCCESS {
			return false
		}
		require.Equal(t, nt.STATUS_SUCCESS, r.Apply(c), c.Op)
		return true
	}
	real := `\Registry\Machine\System\ControlSet001\Services\New`
	set := func(name string, typ uint32, data []byte) cm.Change {
		return cm.Change{Op: cm.OpSetValue, Key: real, Name: name, Type: typ, Data: data}
	}
	require.True(t, do(me, cm.Change{Op: cm.OpCreateKey, Key: real}))
	require.True(t, do(me, set("Type", nt.REG_DWORD, cm.DWord(1))))
	require.True(t, do(me, set("ImagePath", nt.REG_EXPAND_SZ, cm.SZ("/new.sys"))))
	require.True(t, do(me, set("Start", nt.REG_DWORD, cm.DWord(3))))
	assert.False(t, do(me, set("Start", nt.REG_DWORD, cm.DWord(2))), "it does not start by itself")
	assert.True(t, do(me, set("ImagePath", nt.REG_EXPAND_SZ, cm.SZ("/newer.sys"))))
	assert.False(t, do(other, set("ImagePath", nt.REG_EXPAND_SZ, cm.SZ("/evil.sys"))))
	g.taken("new")
	assert.False(t, do(me, set("ImagePath", nt.REG_EXPAND_SZ, cm.SZ("/evil.sys"))))
	assert.False(t, do(me, cm.Change{Op: cm.OpDeleteKey, Key: real}))
	name := func(i int) string { return real + string(rune('A'+i/26)) + string(rune('a'+i%26)) }
	for i := range maxMade + 5 {
		assert.Equal(t, i < maxMade, do(me, cm.Change{Op: cm.OpCreateKey, Key: name(i)}), i)
	}
	require.True(t, do(me, cm.Change{Op: cm.OpDeleteKey, Key: name(3)}))
	assert.True(t, do(me, cm.Change{Op: cm.OpCreateKey, Key: name(maxMade)}), "in its place")
	assert.False(t, do(me, cm.Change{Op: cm.OpCreateKey, Key: name(maxMade + 1)}))
}

// A name that a host has claimed, with a change that failed or that it took back, is not its own when
// somebody who is no host registers a service of that name in the registry itself.
func TestAServiceThatAToolWritesIsNoHosts(t *testing.T) {
	r := cm.Initial(cm.System{})
	g := NewGuard(r)
	g.host(7, "service ME")
	assert.Equal(t, hostGrowth, g.Limit(7))
	assert.Zero(t, g.Limit(9))
	real := `\REGISTRY\Machine\System\ControlSet001\Services\New`
	do := func(pid int, c cm.Change) bool {
		return checked(g, pid, c) == nt.STATUS_SUCCESS && r.Apply(c) == nt.STATUS_SUCCESS
	}
	set := func(name string, typ uint32, data []byte) cm.Change {
		return cm.Change{Op: cm.OpSetValue, Key: real, Name: name, Type: typ, Data: data}
	}
	assert.Equal(t, nt.STATUS_SUCCESS, checked(g, 7, cm.Change{Op: cm.OpCreateKey, Key: real}))
	const tool = 9
	assert.True(t, do(tool, cm.Change{Op: cm.OpCreateKey, Key: real}))
	assert.True(t, do(tool, set("Type", nt.REG_DWORD, cm.DWord(1))))
	assert.True(t, do(tool, set("Start", nt.REG_DWORD, cm.DWord(2))))
	assert.True(t, do(tool, set("ImagePath", nt.REG_SZ, cm.SZ("/good.sys"))))
	assert.False(t, do(7, set("ImagePath", nt.REG_SZ, cm.SZ("/evil.sys"))), "an image that starts by itself")
}
