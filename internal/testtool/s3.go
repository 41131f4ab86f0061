package testtool

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// S3 is an instance of versitygw, an S3 server.
type S3 struct {
	Region, AccessKey, SecretKey string
	// Flags are additional options, PosixFlags additional options of the storage backend.
	Flags, PosixFlags []string
}

// Start serves the directories in dir as buckets until the test ends. It returns the server's address, HOST:PORT.
func (s S3) Start(t testing.TB, dir string) string {
	t.Helper()
	program := Named(t, "LOCALCLOUD_VERSITYGW")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	args := slices.Concat(
		[]string{"--port", address, "--region", s.Region, "--access", s.AccessKey, "--secret", s.SecretKey, "--quiet"},
		s.Flags, []string{"posix"}, s.PosixFlags, []string{dir})
	command := exec.Command(program, args...)
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The only error expected here is the one from Kill.
		_, _ = command.Process.Kill(), command.Wait()
		if t.Failed() {
			t.Log(output.String())
		}
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if connection, err := net.Dial("tcp", address); err == nil {
			if err := connection.Close(); err != nil {
				t.Error(err)
			}
			return address
		}
		if time.Now().After(deadline) {
			t.Fatal("versitygw does not listen")
		}
	}
}

// Certificate writes a self-signed certificate for loopback addresses, and its key.
func Certificate(t testing.TB, dir string) (certFile, keyFile string) {
	t.Helper()
	// Use the certificate of httptest.
	server := httptest.NewTLSServer(nil)
	pair := server.TLS.Certificates[0]
	server.Close()
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, keyFile: {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}
