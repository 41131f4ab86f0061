package server

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"immutable-infra/internal/golden"
)

func exampleArgs() UserDataArgs {
	return UserDataArgs{
		Settings: Settings{
			Region: "eu-central-1", ReleasesKept: 3, BackupInterval: 60, BackupRetention: 24, SSHPort: 12222, Generation: 7,
			Domain: "example.org", Aliases: []string{"www.example.org", "example.com"},
			Admins: []Admin{
				{Name: "ada", Keys: []string{"ssh-ed25519 AAAAada ada@example"}},
				{Name: "zoe", Keys: []string{"ssh-ed25519 AAAAzoe", "ssh-rsa AAAAzoe2"}},
			},
			ACMEDirectory: "https://acme.example.org/dir", ACMEEmail: "ada@example.org",
			ACMERoots:  "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
			Grafana:    true,
			HSTSMaxAge: 31536000, HSTSIncludeSubDomains: true,
			SMTPHost: "smtp.example.org", SMTPPort: 587, SMTPUser: "site", SMTPFrom: "noreply@example.org",
		},
		Secrets: Secrets{SMTPPassword: "se cret"},
		Stack:   "production", ContentBucket: "content-1", BackupBucket: "backup-1", VIP: "198.51.100.7",
		HostPrivateKey:  "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
		HostPublicKey:   "ssh-ed25519 AAAAhost",
		HostCertificate: "ssh-ed25519-cert-v01@openssh.com AAAAcert",
		BootstrapKey:    "ssh-ed25519 AAAAbootstrap\n",
		BootstrapFrom:   []string{"192.0.2.7/32", "198.51.100.0/24"},
		BundleHash:      "0123456789abcdef",
	}
}

func TestUserDataIsAsReviewed(t *testing.T) {
	text, err := UserData(exampleArgs())
	require.NoError(t, err)
	golden.Equal(t, "user-data.yaml", text)
}

// End-to-end tests inject the faults of a broken server into that file.
func TestSharedCloudConfigIsKeptInTheUserData(t *testing.T) {
	text, err := userData(
		[]byte("no_such_key: true\npackages: [no-such-package]\nruncmd: [[false]]\nwrite_files: [{path: /etc/fault, "+
			"content: text}]\n"), exampleArgs(),
	)
	require.NoError(t, err)
	var config struct {
		NoSuchKey  bool                `yaml:"no_such_key"`
		Packages   []string            `yaml:"packages"`
		Commands   [][]string          `yaml:"runcmd"`
		WriteFiles []map[string]string `yaml:"write_files"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(text), &config))
	require.True(t, config.NoSuchKey)
	require.Equal(t, []string{"no-such-package"}, config.Packages)
	require.Equal(t, [][]string{{"false"}}, config.Commands)
	require.Equal(t, map[string]string{"path": "/etc/fault", "content": "text"}, config.WriteFiles[0])
	require.Equal(t, "/etc/ssh/sshd_config.d/10-immutable-infra.conf", config.WriteFiles[1]["path"])
	_, err = userData([]byte("packages: {"), exampleArgs())
	require.ErrorContains(t, err, "boot/cloud-config.yaml")
}

func TestUserDataLeavesRoomForFurtherKeys(t *testing.T) {
	text, err := UserData(exampleArgs())
	require.NoError(t, err)
	require.Less(t, len(text), MaxUserData/2, "put values into server.env, and work into files/provision")
}

func TestUserDataBeyondEC2sLimitIsRejected(t *testing.T) {
	args := exampleArgs()
	for range 200 {
		args.Admins[0].Keys = append(args.Admins[0].Keys, "ssh-rsa "+strings.Repeat("A", 500))
	}
	_, err := UserData(args)
	require.ErrorContains(t, err, "EC2 takes 16384")
}

func TestNoLoginWithAPasswordOrAsRoot(t *testing.T) {
	text, err := UserData(exampleArgs())
	require.NoError(t, err)
	var config struct {
		DisableRoot bool  `yaml:"disable_root"`
		Passwords   *bool `yaml:"ssh_pwauth"`
		Users       []struct {
			Name string
			Lock bool     `yaml:"lock_passwd"`
			Keys []string `yaml:"ssh_authorized_keys"`
		}
		Files []file `yaml:"write_files"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(text), &config))
	require.True(t, config.DisableRoot)
	require.NotNil(t, config.Passwords)
	require.False(t, *config.Passwords)

	keys := map[string]int{}
	for _, user := range config.Users {
		require.True(t, user.Lock, user.Name)
		keys[user.Name] = len(user.Keys)
	}
	require.Equal(t, map[string]int{"ada": 1, "zoe": 2, "bootstrap": 0, "site-agent": 0}, keys,
		"no other user has a key, and the bootstrap user gets one only at the end of the boot")

	var sshd string
	for _, file := range config.Files {
		if strings.HasPrefix(file.Path, "/etc/ssh/") {
			sshd = file.Content
		}
	}
	for _, line := range []string{
		"Port 12222", "PermitRootLogin no", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
		"AllowUsers ada bootstrap zoe", "HostKey /etc/ssh/ssh_host_ed25519_key",
	} {
		require.Contains(t, strings.Split(sshd, "\n"), line)
	}
}

func TestEachSettingChangesTheUserData(t *testing.T) {
	base, err := UserData(exampleArgs())
	require.NoError(t, err)
	for name, change := range map[string]func(*UserDataArgs){
		"generation":      func(args *UserDataArgs) { args.Generation++ },
		"bundle":          func(args *UserDataArgs) { args.BundleHash = "fedcba9876543210" },
		"admin":           func(args *UserDataArgs) { args.Admins = args.Admins[:1] },
		"port":            func(args *UserDataArgs) { args.SSHPort = 22 },
		"host key":        func(args *UserDataArgs) { args.HostPrivateKey = "other" },
		"certificate":     func(args *UserDataArgs) { args.HostCertificate = "other" },
		"content bucket":  func(args *UserDataArgs) { args.ContentBucket = "other" },
		"backup bucket":   func(args *UserDataArgs) { args.BackupBucket = "other" },
		"VIP":             func(args *UserDataArgs) { args.VIP = "198.51.100.8" },
		"bootstrap key":   func(args *UserDataArgs) { args.BootstrapKey = "other" },
		"domain":          func(args *UserDataArgs) { args.Domain = "example.net" },
		"alias":           func(args *UserDataArgs) { args.Aliases = args.Aliases[:1] },
		"ACME directory":  func(args *UserDataArgs) { args.ACMEDirectory = "https://acme.example.net/dir" },
		"ACME account":    func(args *UserDataArgs) { args.ACMEEmail = "zoe@example.org" },
		"ACME CA":         func(args *UserDataArgs) { args.ACMERoots = "" },
		"releases kept":   func(args *UserDataArgs) { args.ReleasesKept++ },
		"HSTS":            func(args *UserDataArgs) { args.HSTSMaxAge = 0 },
		"PHP's egress":    func(args *UserDataArgs) { args.PHPEgress = true },
		"bootstrap from":  func(args *UserDataArgs) { args.BootstrapFrom = nil },
		"mail password":   func(args *UserDataArgs) { args.Secrets.SMTPPassword = "other" },
		"Grafana":         func(args *UserDataArgs) { args.Grafana = false },
		"heartbeat URL":   func(args *UserDataArgs) { args.Secrets.HeartbeatURL = "https://heartbeat.example.org/m1" },
		"public host key": func(args *UserDataArgs) { args.HostPublicKey = "other" },
	} {
		args := exampleArgs()
		change(&args)
		changed, err := UserData(args)
		require.NoError(t, err)
		require.NotEqual(t, base, changed, name)
	}
}

func TestServersEnvironmentHasAllNamesOfTheSite(t *testing.T) {
	lines := func(change func(*UserDataArgs)) []string {
		args := exampleArgs()
		change(&args)
		text, err := serverEnv(args)
		require.NoError(t, err)
		return strings.Split(text, "\n")
	}
	all := lines(func(*UserDataArgs) {})
	require.Contains(t, all, "ALIASES=www.example.org,example.com")
	require.Contains(t, all, "SITE_NAMES=example.org,www.example.org,example.com,monitoring.example.org")
	without := lines(func(args *UserDataArgs) { args.Aliases = nil })
	require.Contains(t, without, "ALIASES=")
	require.Contains(t, without, "SITE_NAMES=example.org,monitoring.example.org")
	without = lines(func(args *UserDataArgs) { args.Grafana = false })
	require.Contains(t, without, "SITE_NAMES=example.org,www.example.org,example.com",
		"no certificate for a name that is not served")
}

func TestHeartbeatURLIsInTheUserDataOnlyIfSetAndOnlyForRoot(t *testing.T) {
	args := exampleArgs()
	without, err := UserData(args)
	require.NoError(t, err)
	require.NotContains(t, without, "heartbeat")
	args.Secrets.HeartbeatURL = "https://heartbeat.example.org/m1-5c1e0f"
	with, err := UserData(args)
	require.NoError(t, err)
	const file = "  - path: /etc/immutable-infra/heartbeat.url\n    permissions: \"0600\"\n    content: " +
		"https://heartbeat.example.org/m1-5c1e0f\n"
	require.Equal(t, without, strings.Replace(with, file, "", 1), "nothing else differs")
	require.Contains(t, with, file)
}

func TestCAFileIsEmptyWithoutACustomCA(t *testing.T) {
	args := exampleArgs()
	args.ACMERoots = ""
	text, err := UserData(args)
	require.NoError(t, err)
	require.Contains(t, text, "  - path: /etc/immutable-infra/acme-ca.pem\n    content: \"\"\n",
		"Compose always mounts the file")
}

func TestEveryReaderOfTheServersEnvironmentGetsTheOriginalValues(t *testing.T) {
	for _, value := range []string{
		"", "plain", "a$b@example.org", "${HOME}", "a b", "a #b", "#a", `a"b`, "a`b`", "o'brien@example.org",
		"it's #1; or \"", "a;b&c|d", "~", "a=b", "ä", "$(id)", "*", "max-age=1; preload", `a\b`, "a'$b", "a\nb",
	} {
		args := exampleArgs()
		args.ACMEEmail = value
		text, err := serverEnv(args)
		if !EnvironmentTakes(value) {
			require.ErrorContains(t, err, "ACME_EMAIL", value)
			continue
		}
		require.NoError(t, err)
		path := filepath.Join(t.TempDir(), "server.env")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		output, err := exec.CommandContext(t.Context(), "/bin/sh", "-euc", `. "$0"; printf %s "$ACME_EMAIL"`,
			path).CombinedOutput()
		require.NoError(t, err, "%s", output)
		require.Equal(t, value, string(output))
	}
	for _, value := range []string{`a\b`, "a'$b", "a'`b", "a\nb", `it's "so"`} {
		require.False(t, EnvironmentTakes(value), value)
	}
}

func TestMailRelaysPasswordIsOnlyInAFileOfPHPsUser(t *testing.T) {
	text, err := UserData(exampleArgs())
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(text, "se cret"))
	var config struct {
		Files []file `yaml:"write_files"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(text), &config))
	i := slices.IndexFunc(config.Files, func(f file) bool { return strings.Contains(f.Content, "se cret") })
	require.Equal(t, "/etc/immutable-infra/msmtprc", config.Files[i].Path)
	require.Equal(t, "www-data:www-data", config.Files[i].Owner)
	require.Equal(t, "0400", config.Files[i].Permissions)
}
