package stack

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"immutable-infra/server"
)

type project struct {
	Name   string         `yaml:"name"`
	Config map[string]any `yaml:"config"`
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(content, into))
}

// typed matches the end of a description: the type, and an example in YAML, which for a boolean is the default.
var typed = regexp.MustCompile(`^.+\. (String|Secret string|Integer|Boolean|List of strings|List of objects)(?:, such as|\. Default:) (.+)$`)

func TestPulumiYAMLDescribesEveryKey(t *testing.T) {
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	inProject(t)
	home := t.TempDir()
	t.Setenv("HOME", home)
	require.NoError(t, os.Mkdir(filepath.Join(home, ".ssh"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(home, ".ssh/id_ed25519.pub"), []byte(publicKey(t)), 0o644))
	require.NoError(t, os.WriteFile("roots.pem", certificate(t), 0o644))
	var project project
	readYAML(t, filepath.Join(root, "Pulumi.yaml"), &project)
	types := map[reflect.Type]string{
		reflect.TypeFor[string](): "String", reflect.TypeFor[int](): "Integer", reflect.TypeFor[bool](): "Boolean",
		reflect.TypeFor[[]string](): "List of strings", reflect.TypeFor[[]DNSRecord](): "List of objects",
		reflect.TypeFor[[]server.Admin](): "List of objects",
	}

	described := map[string]bool{}
	for key := range project.Config {
		if !strings.Contains(key, ":") {
			described[key] = true
		}
	}
	defaults, byDefault, byExample := Defaults(), map[string]string{}, map[string]string{regionKey: "eu-central-1"}
	for _, setting := range defaults.settings() {
		key := setting.key
		entry, ok := project.Config[key].(map[string]any)
		require.True(t, ok, "Pulumi.yaml does not describe %s", key)
		require.NotContains(t, entry, "type", "Pulumi would refuse a wrong %s before the program says what else is wrong",
			key)
		require.NotNil(t, entry["default"], "Pulumi would ask for %s before the program says what else is wrong", key)
		secret, _ := entry["secret"].(bool)
		require.Equal(t, isSecret(key), secret, "whether %s is marked as secret", key)

		match := typed.FindStringSubmatch(fmt.Sprint(entry["description"]))
		require.NotNil(t, match, "the description of %s ends with no type and example: %s", key, entry["description"])
		kind := types[setting.value.Type()]
		if secret {
			kind = "Secret string"
		}
		require.Equal(t, kind, match[1], key)
		var example any
		require.NoError(t, yaml.Unmarshal([]byte(match[2]), &example), key)
		byExample[key], byDefault[key] = raw(t, example), raw(t, entry["default"])
		if kind == "Boolean" {
			require.Equal(t, byDefault[key], byExample[key], "the default that the description of %s states", key)
		}
		delete(described, key)
	}
	require.Empty(t, described, "Pulumi.yaml describes keys that the program does not read")

	v := &validator{}
	require.Equal(t, &defaults, v.read(byDefault))
	require.Empty(t, v.problems)
	_, err = Parse(byExample)
	require.NoError(t, err, "the examples of Pulumi.yaml")
}

// raw returns a value in the form in which Pulumi passes it to a program.
func raw(t *testing.T, value any) string {
	t.Helper()
	text, ok := rawValue(value)
	require.True(t, ok, "%v", value)
	return text
}

func TestTheStacksOfTheRepositoryLoad(t *testing.T) {
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	for _, stack := range []string{"production", "test", "local"} {
		t.Run(stack, func(t *testing.T) {
			inProject(t)
			require.NoError(t, os.MkdirAll(".localcloud/ssh", 0o755))
			require.NoError(t, os.WriteFile(".localcloud/ssh/id_ed25519.pub", []byte(publicKey(t)), 0o644))
			require.NoError(t, os.Mkdir(".localcloud/tls", 0o755))
			require.NoError(t, os.WriteFile(".localcloud/tls/acme.pem", certificate(t), 0o644))

			var project project
			readYAML(t, filepath.Join(root, "Pulumi."+stack+".yaml"), &project)
			values := map[string]string{}
			for key, value := range project.Config {
				if encrypted, ok := value.(map[string]any); ok && encrypted["secure"] != nil {
					value = map[string]string{
						"victorOpsKey":       "01234567-89ab-cdef-0123-456789abcdef",
						"heartbeatURL":       "https://uptimerobot.localcloud.test/heartbeat/m1",
						"uptimeRobotKey":     "u1234567-0123456789abcdef01234567",
						"uptimeRobotWebhook": "https://alert.victorops.com/integrations/uptimerobot/20131114/alert/01234567/site?",
					}[strings.TrimPrefix(key, "immutable-infra:")]
				}
				values[strings.TrimPrefix(key, "immutable-infra:")] = raw(t, value)
			}
			config, err := Parse(values)
			require.NoError(t, err)
			require.Equal(t, stack == "production", config.Protect, "only production has resources that cannot be recreated")
		})
	}
}

func TestMisspelledKeyFromTheEngineIsReported(t *testing.T) {
	unknown, err := unknownKeys("immutable-infra",
		`{"immutable-infra:domain": "x", "immutable-infra:domian": "x", "aws:region": "y"}`)
	require.NoError(t, err)
	require.Equal(t, []string{"domian"}, unknown)
}

// validateConfig makes Pulumi validate a configuration. Its type parameter avoids naming the type of a Pulumi ESC
// environment, which is in a module that the project does not need otherwise.
func validateConfig[E any](ctx context.Context,
	validate func(context.Context, string, *workspace.Project, E, config.Map, config.Encrypter, config.Decrypter) error,
	project *workspace.Project, values config.Map, crypter config.Crypter) error {
	var none E
	return validate(ctx, "production", project, none, values, crypter, crypter)
}

// Pulumi itself validates a configuration before it runs the program. It must find no problem, or the program could not
// report all of them. It must also pass the values in the form that the tests of this package assume.
func TestPulumiLeavesEveryCheckToTheProgram(t *testing.T) {
	project, err := workspace.LoadProject("../Pulumi.yaml")
	require.NoError(t, err)
	for name, file := range map[string]string{
		"nothing set": "config: {}",
		"values of other types": `config:
  immutable-infra:domain: [example.org]
  immutable-infra:aliases: www.example.org
  immutable-infra:sshPort: twenty-two
  immutable-infra:protect: 1
  immutable-infra:grafana: {}
  immutable-infra:generation: "3"
  immutable-infra:rootVolumeSize: 20.5
  immutable-infra:statusPage: false
  immutable-infra:buildCommand: 7
  immutable-infra:admins: [{name: 7, keys: [true]}]
  immutable-infra:dnsRecords: {name: example.org}
  immutable-infra:victorOpsKey: plain
  immutable-infra:uptimeRobotKey: {secure: %s}
  immutable-infra:colour: red
`,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "Pulumi.production.yaml")
			crypter := config.Base64Crypter
			encrypted, err := crypter.EncryptValue(t.Context(), "u1234567-0123456789abcdef01234567")
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll(file, "%s", encrypted)), 0o644))
			stack, err := workspace.LoadProjectStack(nil, project, path)
			require.NoError(t, err)
			require.NoError(t,
				validateConfig(t.Context(), workspace.ValidateStackConfigAndApplyProjectConfig, project, stack.Config, crypter))
			decrypted, err := stack.Config.Decrypt(crypter)
			require.NoError(t, err)
			passed := map[string]string{}
			for key, value := range decrypted {
				passed[strings.TrimPrefix(key.String(), "immutable-infra:")] = value
			}

			var schema, written struct{ Config map[string]any }
			readYAML(t, "../Pulumi.yaml", &schema)
			readYAML(t, path, &written)
			expected := map[string]string{regionKey: "us-east-1"}
			for key, entry := range schema.Config {
				if entry, ok := entry.(map[string]any); ok {
					expected[key] = raw(t, entry["default"])
				}
			}
			for key, value := range written.Config {
				if key = strings.TrimPrefix(key, "immutable-infra:"); key != "uptimeRobotKey" {
					expected[key] = raw(t, value)
				} else {
					expected[key] = "u1234567-0123456789abcdef01234567"
				}
			}
			require.Equal(t, expected, passed)
		})
	}
}
