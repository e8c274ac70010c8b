package service

import (
	"bufio"
	"encoding/json"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHostileRequestsGetAnErrorOrTheEnd(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, filepath.Join(dir, "registry.db"))
	m, err := NewManager(ManagerOptions{Dir: dir, Store: s})
	require.NoError(t, err)
	defer m.Close()
	path := filepath.Join(dir, ServicesSocket)
	l, err := ListenSocket(path)
	require.NoError(t, err)
	defer l.Close()
	server := NewServer(m)
	defer server.Close()
	go func() { _ = server.Serve(l) }()
	for _, c := range []struct {
		fact, line string
		code       Code
	}{
		{"no JSON", "hello", InvalidParameter},
		{"another version", `{"version":2,"do":"query"}`, NotSupported},
		{"an unknown request", `{"version":1,"do":"format"}`, InvalidParameter},
		{"no configuration", `{"version":1,"do":"create"}`, InvalidParameter},
		{"an unknown field", `{"version":1,"do":"change","name":"x"}`, InvalidParameter},
		{"a name that leads elsewhere", `{"version":1,"do":"delete","name":"..\\..\\Control"}`, InvalidName},
		{"a path as a name", `{"version":1,"do":"start","name":"../../etc"}`, InvalidName},
		{"a line that does not end", strings.Repeat("x", maxRequest+2), InvalidParameter},
	} {
		t.Run(c.fact, func(t *testing.T) {
			var conn net.Conn
			require.NoError(t, withShort(path, func(short string) (err error) {
				conn, err = net.Dial("unix", short)
				return err
			}))
			defer conn.Close()
			require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
			go func() { _, _ = conn.Write([]byte(c.line + "\n")) }()
			line, err := bufio.NewReader(conn).ReadBytes('\n')
			require.NoError(t, err)
			var r Response
			require.NoError(t, json.Unmarshal(line, &r))
			assert.Equal(t, c.code, r.Code, r.Detail)
		})
	}
}
