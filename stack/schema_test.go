package stack

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
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

// raw is a value in the form in which Pulumi hands it to a program.
func raw(t *testing.T, value any) string {
	t.Helper()
	switch value := value.(type) {
	case string:
		return value
	case []any, map[string]any:
		encoded, err := json.Marshal(value)
		require.NoError(t, err)
		return string(encoded)
	default:
		return fmt.Sprint(value)
	}
}

func TestPulumiYAMLDescribesEveryKeyAsTheProgramReadsIt(t *testing.T) {
	var project project
	readYAML(t, "../Pulumi.yaml", &project)
	types := map[reflect.Kind]string{reflect.String: "string", reflect.Int: "integer", reflect.Bool: "boolean", reflect.Slice: "array"}

	described := map[string]bool{}
	for key := range project.Config {
		if !strings.Contains(key, ":") {
			described[key] = true
		}
	}
	defaults := Defaults()
	for _, field := range fields() {
		key := field.Tag.Get("config")
		entry, ok := project.Config[key].(map[string]any)
		require.True(t, ok, "Pulumi.yaml does not describe %s", key)
		require.Equal(t, types[field.Type.Kind()], entry["type"], key)
		require.NotEmpty(t, entry["description"], key)

		fromSchema := Config{}
		value := reflect.ValueOf(&fromSchema).Elem().FieldByIndex(field.Index)
		require.NoError(t, set(value, raw(t, entry["default"])), key)
		require.Equal(t, reflect.ValueOf(defaults).FieldByIndex(field.Index).Interface(), value.Interface(), "default of %s", key)
		delete(described, key)
	}
	require.Empty(t, described, "Pulumi.yaml describes keys that the program does not read")
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
						"uptimeRobotKey":     "u1234567-0123456789abcdef01234567",
						"uptimeRobotWebhook": "https://alert.victorops.com/integrations/uptimerobot/20131114/alert/01234567/site?",
					}[strings.TrimPrefix(key, "immutable-infra:")]
				}
				values[strings.TrimPrefix(key, "immutable-infra:")] = raw(t, value)
			}
			config, err := Parse(values)
			require.NoError(t, err)
			require.Equal(t, stack == "production", config.Protect, "only production holds what cannot be made again")
		})
	}
}

func TestAMisspeltKeyIsFoundInWhatTheEngineHandsOver(t *testing.T) {
	unknown, err := unknownKeys("immutable-infra", `{"immutable-infra:domain": "x", "immutable-infra:domian": "x", "aws:region": "y"}`)
	require.NoError(t, err)
	require.Equal(t, []string{"domian"}, unknown)
}
