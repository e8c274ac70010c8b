package signature

// What is wrong with files: the samples in testdata, whole and broken. osslsigncode is not needed.

import (
	"crypto"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pemOf writes a certificate as PEM.
func pemOf(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func sample(tb testing.TB, file string) []byte {
	data, err := os.ReadFile(filepath.Join("testdata", file))
	require.NoError(tb, err)
	return data
}

func roots(tb testing.TB, files ...string) *Policy {
	for i := range files {
		files[i] = filepath.Join("testdata", files[i])
	}
	p, err := LoadRoots(files...)
	require.NoError(tb, err)
	return p
}

func TestSamplesAreAcceptedByTheirRootAndByNoOther(t *testing.T) {
	for _, file := range []string{"stamped.sys", "nested.sys"} {
		require.NoError(t, roots(t, "root.pem").Check(filepath.Join("testdata", file)))
	}
	require.NoError(t, roots(t, "stranger.pem").Check(filepath.Join("testdata", "nested.sys")))
	require.NoError(t, roots(t, "stranger.pem", "root.pem").Check(filepath.Join("testdata",
		"stamped.sys")))
	err := roots(t, "stranger.pem").Check(filepath.Join("testdata", "stamped.sys"))
	require.ErrorContains(t, err, "stamped.sys: signed by CN=drvhost test signer, whose ")
}

// tableAt gives the offset of the certificate table of a sample.
func tableAt(image []byte) int {
	nt := binary.LittleEndian.Uint32(image[60:])
	return int(binary.LittleEndian.Uint32(image[nt+24+112+4*8:]))
}

func TestAFileIsRefusedForWhatIsWrongWithIt(t *testing.T) {
	put := binary.LittleEndian.PutUint32
	entry := func(d []byte) []byte { return d[binary.LittleEndian.Uint32(d[60:])+24+112+4*8:] }
	for _, c := range []struct {
		name   string
		change func([]byte) []byte
		want   string
	}{
		{"a byte of code", func(d []byte) []byte { d[0x410] ^= 1; return d }, ErrChanged.Error()},
		{"a byte of the headers", func(d []byte) []byte { d[0x50] ^= 1; return d },
			ErrChanged.Error()},
		{"the last byte before the table", func(d []byte) []byte { d[tableAt(d)-1] ^= 1; return d },
			ErrChanged.Error()},
		{"the checksum, which is not signed", func(d []byte) []byte {
			put(d[binary.LittleEndian.Uint32(d[60:])+24+64:], 0x1234)
			return d
		}, ""},
		{"trailing data", func(d []byte) []byte { return append(d, 0) },
			"1 bytes follow the certificate table, which no signature covers"},
		{"a truncated table", func(d []byte) []byte { return d[:len(d)-8] }, "truncated: the " +
			"certificate table is at offset "},
		{"no table", func(d []byte) []byte {
			put(entry(d), 0)
			put(entry(d)[4:], 0)
			return d[:tableAt(unchanged)]
		}, "not signed"},
		{"a table in the headers", func(d []byte) []byte { put(entry(d), 0x80); return d },
			"the certificate table at offset 0x80 is in the headers"},
		{"a table at no multiple of 8", func(d []byte) []byte {
			put(entry(d), uint32(tableAt(d)+1))
			return d
		}, "is no multiple of 8"},
		{"a table inside a section", func(d []byte) []byte {
			at := uint32(0x408)
			put(entry(d), at)
			put(entry(d)[4:], uint32(len(d))-at)
			return d
		}, "reaches into the certificate table"},
		{"an entry longer than the table", func(d []byte) []byte {
			put(d[tableAt(d):], 0xFFFFFFFF)
			return d
		}, "of 0x"},
		{"an entry without content", func(d []byte) []byte { put(d[tableAt(d):], 8); return d },
			"its length is 0x8"},
		{"an entry of an older revision", func(d []byte) []byte { d[tableAt(d)+5] = 1; return d },
			"revision 0x100, type 2, which is no PKCS#7 signature"},
		{"an X.509 entry", func(d []byte) []byte { d[tableAt(d)+6] = 1; return d },
			"revision 0x200, type 1, which is no PKCS#7 signature"},
		{"data behind the message", func(d []byte) []byte {
			at := tableAt(d)
			d = append(d, "hidden!!"...)
			put(entry(d)[4:], uint32(len(d)-at))
			put(d[at:], uint32(len(d)-at))
			return d
		}, "data is hidden behind the signature"},
		{"zeros behind the message", func(d []byte) []byte {
			at := tableAt(d)
			d = append(d, make([]byte, 64)...)
			put(entry(d)[4:], uint32(len(d)-at))
			put(d[at:], uint32(len(d)-at))
			return d
		}, "data is hidden behind the signature"},
		{"a message of zeros", func(d []byte) []byte {
			clear(d[tableAt(d)+8:])
			return d
		}, "signature"},
		{"a message that nests for ever", func(d []byte) []byte {
			for i := tableAt(d) + 8; i+4 <= len(d); i += 4 {
				copy(d[i:], []byte{0x30, 0x82, byte((len(d) - i - 4) >> 8), byte(len(d) - i - 4)})
			}
			return d
		}, "its PKCS#7 message is garbage"},
		{"a byte of the signature", func(d []byte) []byte { d[signatureAt(t, d)] ^= 1; return d },
			"the signature of CN=drvhost test signer is wrong"},
		{"an empty file", func([]byte) []byte { return nil }, "no PE image"},
		{"half the headers", func(d []byte) []byte { return d[:0x90] }, "no PE image"},
		{"a text", func([]byte) []byte { return make([]byte, 4096) }, "no PE image"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := roots(t, "root.pem").CheckImage("a.sys", c.change(sample(t, "stamped.sys")),
				day(t, "2026-01-01"))
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			var refused *RefusedError
			require.ErrorAs(t, err, &refused)
			assert.ErrorContains(t, err, c.want)
		})
	}
	err := roots(t, "root.pem").CheckImage("a.sys", unsigned(t), day(t, "2026-01-01"))
	require.ErrorIs(t, err, ErrNotSigned)
	require.EqualError(t, err, "a.sys: not signed")
}

// unchanged is the sample that the cases change.
var unchanged, _ = os.ReadFile(filepath.Join("testdata", "stamped.sys"))

// signatureAt gives the offset of a byte in the middle of the signer's signature.
func signatureAt(t *testing.T, image []byte) int {
	list, err := read(image)
	require.NoError(t, err)
	sig := list[0].Signers[0].EncryptedDigest
	for i := tableAt(image); i+len(sig) <= len(image); i++ {
		if string(image[i:i+len(sig)]) == string(sig) {
			return i + len(sig)/2
		}
	}
	t.Fatal("the signature is not in the table")
	return 0
}

func TestTheDigestOfAnImageWithAGapSaysSo(t *testing.T) {
	image := sample(t, "stamped.sys")
	nt := binary.LittleEndian.Uint32(image[60:])
	opt := nt + 24 + uint32(binary.LittleEndian.Uint16(image[nt+20:]))
	row := image[opt:]
	binary.LittleEndian.PutUint32(row[16:], binary.LittleEndian.Uint32(row[16:])-0x10)
	err := roots(t, "root.pem").CheckImage("a.sys", image, day(t, "2026-01-01"))
	require.ErrorIs(t, err, ErrChanged)
	require.ErrorContains(t, err, "its sections leave a gap or overlap at offset 0x")
}

func TestACounterSignatureOfAnotherSignatureDoesNotCount(t *testing.T) {
	stamped, err := read(sample(t, "stamped.sys"))
	require.NoError(t, err)
	nested, err := read(sample(t, "nested.sys"))
	require.NoError(t, err)
	require.Len(t, stamped[0].stamps, 1)
	_, _, err = readTimestamp(stamped[0].stamps[0], stamped[0].message)
	require.NoError(t, err)
	_, _, err = readTimestamp(stamped[0].stamps[0], nested[0].message)
	require.EqualError(t, err, "it is of another signature")
}

func TestInspectShowsSigners(t *testing.T) {
	list, err := Inspect(sample(t, "stamped.sys"))
	require.NoError(t, err)
	require.Equal(t, []Signature{{Signer: "CN=drvhost test signer",
		Issuer: "CN=drvhost test intermediate", Digest: crypto.SHA256.String(),
		NotAfter: day(t, "2024-06-01"), Time: day(t, "2024-01-02")}}, list)
	list, err = Inspect(sample(t, "nested.sys"))
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, "CN=drvhost stranger", list[0].Signer)
	require.Equal(t, "SHA-384", list[1].Digest)

	changed := sample(t, "stamped.sys")
	changed[0x410] ^= 1
	list, err = Inspect(changed)
	require.NoError(t, err)
	require.Equal(t, ErrChanged.Error(), list[0].Problem)
	list, err = Inspect(unsigned(t))
	require.NoError(t, err)
	require.Empty(t, list)
	_, err = Inspect(append(changed, 0))
	require.Error(t, err)
}

// TestRealDriversAreWhatMicrosoftSigned: the digest, the signature and the time stamp of files that
// others signed.
func TestRealDriversAreWhatMicrosoftSigned(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/saferwall/pe").Output()
	dir := filepath.Join(strings.TrimSpace(string(out)), "test")
	if _, e := os.Stat(filepath.Join(dir, "acpi.sys")); err != nil || e != nil {
		if os.Getenv("DRVHOST_REQUIRE_REAL_DRIVERS") != "" {
			t.Fatal("the real drivers of saferwall/pe's module are not here")
		}
		t.Skip("SKIPPED: the real drivers of saferwall/pe's module are not here")
	}
	for _, c := range []struct{ file, signer, time string }{
		{"acpi.sys", "CN=Microsoft Windows,", "2019-03-18"},
		{"amdxata.sys", "CN=Microsoft Windows,", "2019-03-19"},
		{"WdBoot.sys", "CN=Microsoft Windows Early Launch Anti-malware Publisher,", "2019-06-21"},
	} {
		data, err := os.ReadFile(filepath.Join(dir, c.file))
		require.NoError(t, err)
		list, err := Inspect(data)
		require.NoError(t, err)
		require.NotEmpty(t, list, c.file)
		assert.Empty(t, list[0].Problem, c.file)
		assert.Contains(t, list[0].Signer, c.signer, c.file)
		assert.Equal(t, c.time, list[0].Time.UTC().Format(time.DateOnly), c.file)
		err = roots(t, "root.pem").CheckImage(c.file, data, day(t, "2019-07-01"))
		require.ErrorContains(t, err, "is no configured root")
		data[0x1000] ^= 1
		err = roots(t, "root.pem").CheckImage(c.file, data, day(t, "2019-07-01"))
		require.ErrorIs(t, err, ErrChanged)
	}
}

func TestAPurposeHasToBeInTheCertificate(t *testing.T) {
	list, err := read(sample(t, "stamped.sys"))
	require.NoError(t, err)
	err = roots(t, "root.pem").chain(list[0].message, day(t, "2024-01-02"),
		x509.ExtKeyUsageTimeStamping)
	require.EqualError(t, err, "whose certificate is not for time stamping")
}

func TestFilesOfRoots(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	_, err := LoadRoots()
	require.Error(t, err)
	_, err = LoadRoots(filepath.Join(dir, "none.pem"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = LoadRoots(write("empty.pem", ""))
	require.ErrorContains(t, err, "no certificates")
	_, err = LoadRoots(write("bad.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n"+
		"-----END CERTIFICATE-----"))
	require.ErrorContains(t, err, "bad.pem: certificate 1: ")
	_, err = LoadRoots(filepath.Join("testdata", "root.pem"), write("none.pem", "words"))
	require.ErrorContains(t, err, "none.pem: no certificates")
	_, err = LoadRoots(write("two.pem", string(sample(t, "root.pem"))+
		"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"+
		string(sample(t, "stranger.pem"))))
	require.NoError(t, err)
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	_, err = LoadRoots(filepath.Join(dir, "fifo"))
	require.ErrorContains(t, err, "not a regular file")
}

// FuzzCheck: whatever the bytes are, there is an error and no panic, unless they are a good image;
// and what differs from a good one in what is signed is not good.
func FuzzCheck(f *testing.F) {
	image := sample(f, "stamped.sys")
	table := tableAt(image)
	f.Add(uint16(0x410), []byte{1}, []byte(nil))
	f.Add(uint16(table+8), []byte{0x30, 0x80}, []byte{0, 0})
	f.Add(uint16(table), []byte{0, 0, 0, 0}, []byte("tail"))
	f.Add(uint16(60), []byte{0xff, 0xff, 0xff, 0xff}, []byte(nil))
	policy := roots(f, "root.pem")
	when := day(f, "2026-01-01")
	f.Fuzz(func(t *testing.T, at uint16, patch, tail []byte) {
		d := sample(t, "stamped.sys")
		changed := false
		for i, b := range patch {
			if k := int(at) + i; k < len(d) {
				changed = changed || k < table && d[k] != b && !unsignedAt(d, k)
				d[k] = b
			}
		}
		d = append(d, tail...)
		err := policy.CheckImage("a.sys", d, when)
		_, _ = Inspect(d)
		if err == nil && (changed || len(tail) > 0) {
			t.Fatalf("accepted with %x at 0x%x and a tail of %d bytes", patch, at, len(tail))
		}
		if message, err := guard(patch); err == nil {
			_, _ = readMessage(message, oidIndirectData)
		}
	})
}

// unsignedAt says whether a byte before the table is not signed: the checksum and the table's
// entry.
func unsignedAt(image []byte, at int) bool {
	opt := int(binary.LittleEndian.Uint32(unchanged[60:])) + 24
	return at >= opt+64 && at < opt+68 || at >= opt+144 && at < opt+152
}
