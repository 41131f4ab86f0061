package langhost

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"

	"immutable-infra/localcloud/internal/state"
)

const testEngine = "127.0.0.1:4000"

// newProgram writes a Go module with the given body of main and returns its directory.
func newProgram(t *testing.T, main string) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv(state.Variable, filepath.Join(dir, "localcloud"))
	t.Setenv("GOFLAGS", "")
	t.Setenv("GOWORK", "off")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module program\n\ngo 1.26\n"), 0o600))
	writeMain(t, dir, main)
	return dir
}

func writeMain(t *testing.T, dir, main string) {
	t.Helper()
	source := "package main\n\nimport (\n\t\"fmt\"\n\t\"os\"\n)\n\nvar _, _ = fmt.Print, os.Exit\n\nfunc main() {\n" +
		main + "\n}\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o600))
}

func request(t *testing.T, dir string, options map[string]any) *pulumirpc.RunRequest {
	t.Helper()
	encoded, err := structpb.NewStruct(options)
	require.NoError(t, err)
	return &pulumirpc.RunRequest{
		Pwd:  dir,
		Info: &pulumirpc.ProgramInfo{RootDirectory: dir, ProgramDirectory: dir, EntryPoint: ".", Options: encoded},
	}
}

// runProgram runs the program in dir and returns the host's response and the program's standard output.
func runProgram(t *testing.T, dir string, options map[string]any) (*pulumirpc.RunResponse, string) {
	t.Helper()
	var stdout bytes.Buffer
	response, err := newHost(testEngine, &stdout, io.Discard).Run(t.Context(), request(t, dir, options))
	require.NoError(t, err)
	return response, stdout.String()
}

func TestChangedProgramIsRebuilt(t *testing.T) {
	dir := newProgram(t, `fmt.Print("one")`)
	response, stdout := runProgram(t, dir, nil)
	require.Empty(t, response.GetError())
	require.Equal(t, "one", stdout)

	writeMain(t, dir, `fmt.Print("two")`)
	_, stdout = runProgram(t, dir, nil)
	require.Equal(t, "two", stdout)
}

func TestProgramReceivesStackAndEngine(t *testing.T) {
	dir := newProgram(t, `
		for _, name := range []string{"PROJECT", "STACK", "ORGANIZATION", "ROOT_DIRECTORY", "CONFIG",
			"CONFIG_SECRET_KEYS", "DRY_RUN", "PARALLEL", "MONITOR", "ENGINE"} {
			fmt.Println(os.Getenv("PULUMI_" + name))
		}
		directory, _ := os.Getwd()
		fmt.Println(directory)`)
	req := request(t, dir, nil)
	req.Project, req.Stack, req.Organization = "site", "local", "organization"
	req.Config = map[string]string{"site:domain": "example.org"}
	req.ConfigSecretKeys = []string{"site:password"}
	req.DryRun, req.Parallel, req.MonitorAddress = true, 16, "127.0.0.1:4001"
	var stdout bytes.Buffer
	response, err := newHost(testEngine, &stdout, io.Discard).Run(t.Context(), req)
	require.NoError(t, err)
	require.Empty(t, response.GetError())
	require.Equal(t, "site\nlocal\norganization\n"+dir+"\n"+`{"site:domain":"example.org"}`+"\n"+
		`["site:password"]`+"\ntrue\n16\n127.0.0.1:4001\n"+testEngine+"\n"+dir+"\n", stdout.String())
}

func TestCompileErrorIsReportedVerbatim(t *testing.T) {
	response, stdout := runProgram(t, newProgram(t, `undefinedFunction()`), nil)
	require.Empty(t, stdout)
	require.False(t, response.GetBail())
	require.Contains(t, response.GetError(), "build the program")
	require.Contains(t, response.GetError(), "main.go:11:1: undefined: undefinedFunction")
}

func TestNonMainPackageIsRejected(t *testing.T) {
	dir := newProgram(t, "")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte("package library\n"), 0o600))
	response, _ := runProgram(t, dir, nil)
	require.Contains(t, response.GetError(), "the package there must be main")
}

func TestProgramFailureIsReportedOnce(t *testing.T) {
	response, _ := runProgram(t, newProgram(t, `os.Exit(7)`), nil)
	require.Equal(t, "program failed: exit status 7", response.GetError())
	require.False(t, response.GetBail())

	// The Go SDK exits with 32 after it has reported the error to the engine.
	response, _ = runProgram(t, newProgram(t, `os.Exit(32)`), nil)
	require.Empty(t, response.GetError())
	require.True(t, response.GetBail())
}

func TestUnsupportedRuntimeOptionIsNamedInError(t *testing.T) {
	dir := newProgram(t, "")
	for _, option := range []string{"binary", "buildTarget"} {
		response, _ := runProgram(t, dir, map[string]any{option: "out"})
		require.Contains(t, response.GetError(), "runtime option "+option+" in Pulumi.yaml is not supported")
	}
}

func TestUnchangedProgramIsNotRelinked(t *testing.T) {
	dir := newProgram(t, `fmt.Print("one")`)
	runProgram(t, dir, nil)
	built, err := filepath.Glob(filepath.Join(dir, "localcloud", "programs", "*"))
	require.NoError(t, err)
	require.NotEmpty(t, built)
	before, err := os.Stat(built[0])
	require.NoError(t, err)
	// A second hard link keeps the file's inode from being reused.
	require.NoError(t, os.Link(built[0], filepath.Join(dir, "before")))
	runProgram(t, dir, nil)
	after, err := os.Stat(built[0])
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after))
}

func TestProgramIsNotBuiltWithoutHome(t *testing.T) {
	dir := newProgram(t, `fmt.Print("ran")`)
	t.Setenv(state.Variable, "")
	response, stdout := runProgram(t, dir, nil)
	require.Contains(t, response.GetError(), "LOCALCLOUD_HOME is empty")
	require.Empty(t, stdout)
}

func TestCancelKillsProgram(t *testing.T) {
	dir := newProgram(t, `
		fmt.Println("running")
		reader, writer, _ := os.Pipe()
		_, _ = reader.Read(make([]byte, 1))
		writer.Close()`)
	reader, writer := io.Pipe()
	host := newHost(testEngine, writer, io.Discard)
	ended := make(chan *pulumirpc.RunResponse, 1)
	go func() {
		response, err := host.Run(t.Context(), request(t, dir, nil))
		if err != nil {
			response = &pulumirpc.RunResponse{Error: err.Error()}
		}
		ended <- response
	}()
	_, err := io.ReadFull(reader, make([]byte, len("running\n")))
	require.NoError(t, err)
	_, err = host.Cancel(t.Context(), &emptypb.Empty{})
	require.NoError(t, err)
	require.Contains(t, (<-ended).GetError(), "signal: killed")
}

func TestEngineAddressComesFromCommandLineOrHandshake(t *testing.T) {
	address, err := parseArgs([]string{"-root=/site", "--tracing", "x", testEngine})
	require.NoError(t, err)
	require.Equal(t, testEngine, address)
	address, err = parseArgs(nil)
	require.NoError(t, err)
	require.Empty(t, address)

	dir := newProgram(t, `fmt.Print(os.Getenv("PULUMI_ENGINE"))`)
	var stdout bytes.Buffer
	host := newHost("", &stdout, io.Discard)
	_, err = host.Run(t.Context(), request(t, dir, nil))
	require.ErrorContains(t, err, "handshake")
	_, err = host.Handshake(t.Context(), &pulumirpc.LanguageHandshakeRequest{EngineAddress: testEngine})
	require.NoError(t, err)
	_, err = host.Run(t.Context(), request(t, dir, nil))
	require.NoError(t, err)
	require.Equal(t, testEngine, stdout.String())
}

func TestHostExitsWhenEngineIsGone(t *testing.T) {
	engine, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := engine.Addr().String()
	require.NoError(t, engine.Close())
	ended := make(chan error, 1)
	go func() { ended <- serve(t.Context(), []string{address}, time.Millisecond) }()
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(30 * time.Second):
		t.Fatal("the host did not exit after its engine was gone")
	}
}
