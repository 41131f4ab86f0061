// Package server defines a server: its settings, its cloud-init user data, and the bundle that is copied to it. It does
// not depend on Pulumi.
package server

import (
	"bytes"
	"embed"
	"fmt"
	"sort"
	"strings"

	"gopkg.in/yaml.v3"
)

// BootstrapUser is the login that provisions a new server. The server removes it when it becomes active.
const BootstrapUser = "bootstrap"

// agentUID is the user id of the agent, and of Traefik in its container: see compose.yaml.
const agentUID = 900

// MaxUserData is EC2's limit for user data, in bytes.
const MaxUserData = 16 << 10

// UserDataArgs are the arguments of UserData. All are mandatory except the optional settings.
type UserDataArgs struct {
	Settings
	Secrets Secrets
	// Stack is the name of the stack. A server restores backups of its own stack only.
	Stack string
	// ContentBucket and BackupBucket are the names of the buckets.
	ContentBucket string
	BackupBucket  string
	// VIP is the site's address, by which a server knows whether it is the active one.
	VIP string
	// HostPrivateKey is the SSH host key in OpenSSH's format, HostPublicKey and HostCertificate are one line each.
	HostPrivateKey  string
	HostPublicKey   string
	HostCertificate string
	// BootstrapKey is the public key of the login that provisions the server, one line.
	BootstrapKey string
	// BootstrapFrom are the CIDR blocks from which this login is accepted; an empty list accepts every address that passes
	// the security group.
	BootstrapFrom []string
	// BundleHash is included in the user data, like Generation, so that a change of it replaces the server.
	BundleHash string
}

//go:embed boot
var boot embed.FS

// UserData renders the server's cloud-config.
func UserData(args UserDataArgs) (string, error) {
	static, err := boot.ReadFile("boot/cloud-config.yaml")
	if err != nil {
		return "", fmt.Errorf("cannot render the user data: %w", err)
	}
	return userData(static, args)
}

// userData adds the parts that depend on the stack to static, the cloud-config that all servers share.
func userData(static []byte, args UserDataArgs) (string, error) {
	environment, err := serverEnv(args)
	if err != nil {
		return "", fmt.Errorf("cannot render the user data: %w", err)
	}
	files := []file{
		{Path: "/etc/ssh/sshd_config.d/10-immutable-infra.conf", Content: sshdConfig(args)},
		{Path: "/etc/immutable-infra/server.env", Content: environment},
		{Path: "/etc/systemd/system/agent-backup.timer.d/interval.conf",
			Content: fmt.Sprintf("[Timer]\nOnUnitActiveSec=%ds\n", args.BackupInterval)},
		{Path: "/etc/immutable-infra/bootstrap.pub", Content: bootstrapKey(args)},
		{Path: "/etc/immutable-infra/acme-ca.pem", Content: args.ACMERoots},
		// Empty without the secret, because Compose always mounts the file.
		{Path: "/etc/immutable-infra/victorops.key", Permissions: "0600", Content: args.Secrets.VictorOpsKey},
		{Path: "/etc/immutable-infra/github.secret", Permissions: "0600", Content: args.Secrets.GrafanaGitHubSecret},
		// PHP's user has the same id in its container and on the server, where nothing else runs as that user.
		{Path: "/etc/immutable-infra/msmtprc", Owner: "www-data:www-data", Permissions: "0400",
			Content: args.msmtprc(args.Secrets.SMTPPassword)},
	}
	if args.Secrets.HeartbeatURL != "" {
		files = append(files, file{
			Path: "/etc/immutable-infra/heartbeat.url", Permissions: "0600", Content: args.Secrets.HeartbeatURL,
		})
	}
	booting, err := bootFiles()
	if err != nil {
		return "", err
	}
	var config cloudConfig
	if err := yaml.Unmarshal(static, &config); err != nil {
		return "", fmt.Errorf("cannot render the user data: boot/cloud-config.yaml: %w", err)
	}
	config.Users = users(args.Admins)
	config.HostKeys = hostKeys{args.HostPrivateKey, args.HostPublicKey, args.HostCertificate}
	config.WriteFiles = append(append(config.WriteFiles, files...), booting...)
	var text bytes.Buffer
	text.WriteString("#cloud-config\n")
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	if err := encoder.Encode(config); err != nil {
		return "", fmt.Errorf("cannot render the user data: %w", err)
	}
	if text.Len() > MaxUserData {
		return "", fmt.Errorf("the user data has %d bytes, but EC2 takes %d; remove keys from admins, or certificates from "+
			"acmeCA", text.Len(), MaxUserData)
	}
	return text.String(), nil
}

// cloudConfig is the part of cloud-init's cloud-config format that is used here.
type cloudConfig struct {
	Users                 []user     `yaml:"users"`
	DisableRoot           bool       `yaml:"disable_root"`
	AllowPasswords        bool       `yaml:"ssh_pwauth"`
	DeleteShippedHostKeys bool       `yaml:"ssh_deletekeys"`
	HostKeys              hostKeys   `yaml:"ssh_keys"`
	Apt                   apt        `yaml:"apt"`
	BootCommands          [][]string `yaml:"bootcmd"`
	UpdatePackages        bool       `yaml:"package_update"`
	UpgradePackages       bool       `yaml:"package_upgrade"`
	Packages              []string   `yaml:"packages"`
	WriteFiles            []file     `yaml:"write_files"`
	RunCommands           [][]string `yaml:"runcmd"`
	PowerState            powerState `yaml:"power_state"`
	// Others has the keys that this program does not know.
	Others map[string]any `yaml:",inline"`
}

type user struct {
	Name           string   `yaml:"name"`
	UID            int      `yaml:"uid,omitempty"`
	Shell          string   `yaml:"shell"`
	LockPassword   bool     `yaml:"lock_passwd"`
	Sudo           string   `yaml:"sudo,omitempty"`
	AuthorizedKeys []string `yaml:"ssh_authorized_keys,omitempty"`
	System         bool     `yaml:"system,omitempty"`
	NoCreateHome   bool     `yaml:"no_create_home,omitempty"`
}

type hostKeys struct {
	Private     string `yaml:"ed25519_private"`
	Public      string `yaml:"ed25519_public"`
	Certificate string `yaml:"ed25519_certificate"`
}

type file struct {
	Path        string `yaml:"path"`
	Owner       string `yaml:"owner,omitempty"`
	Permissions string `yaml:"permissions,omitempty"`
	Content     string `yaml:"content"`
}

type apt struct {
	Conf string `yaml:"conf"`
}

type powerState struct {
	Mode      string `yaml:"mode"`
	Message   string `yaml:"message"`
	Condition string `yaml:"condition"`
}

func users(admins []Admin) []user {
	const sudo = "ALL=(ALL) NOPASSWD:ALL"
	var all []user
	for _, admin := range admins {
		all = append(all,
			user{Name: admin.Name, Shell: "/bin/bash", LockPassword: true, Sudo: sudo, AuthorizedKeys: admin.Keys})
	}
	return append(all,
		// The bootstrap user's key is installed at the end of the boot: see boot/bootstrap-login.
		user{Name: BootstrapUser, Shell: "/bin/bash", LockPassword: true, Sudo: sudo},
		user{
			Name: "site-agent", UID: agentUID, Shell: "/usr/sbin/nologin", LockPassword: true, System: true, NoCreateHome: true,
		},
	)
}

// bootstrapKey returns the authorized_keys line of the bootstrap user.
func bootstrapKey(args UserDataArgs) string {
	key := strings.TrimSpace(args.BootstrapKey) + "\n"
	if len(args.BootstrapFrom) == 0 {
		return key
	}
	return fmt.Sprintf("from=%q %s", strings.Join(args.BootstrapFrom, ","), key)
}

func sshdConfig(args UserDataArgs) string {
	names := []string{BootstrapUser}
	for _, admin := range args.Admins {
		names = append(names, admin.Name)
	}
	sort.Strings(names)
	//nolint:lll // sshd has no continuation lines
	return fmt.Sprintf(`Port %d
# Named, because Debian's sshd-keygen makes keys of other types, which no certificate vouches for.
HostKey /etc/ssh/ssh_host_ed25519_key
AllowUsers %s
AuthenticationMethods publickey
# The bootstrap user is refused until the boot is over, which must not shut its
# address out. There is no password to guess.
PerSourcePenalties authfail:0
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
X11Forwarding no
# As ssh-audit's policy has it: no NIST curves, no SHA-1, only MACs over the encrypted packet.
KexAlgorithms mlkem768x25519-sha256,sntrup761x25519-sha512,sntrup761x25519-sha512@openssh.com,curve25519-sha256,curve25519-sha256@libssh.org
Ciphers chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes128-gcm@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr
MACs hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com,umac-128-etm@openssh.com
HostKeyAlgorithms ssh-ed25519,ssh-ed25519-cert-v01@openssh.com
RequiredRSASize 3072
`, args.SSHPort, strings.Join(names, " "))
}

// serverEnv returns an environment file that systemd, Compose, the agent and shells all read in the same way.
func serverEnv(args UserDataArgs) (string, error) {
	var text strings.Builder
	for _, line := range []struct {
		name  string
		value any
	}{
		{"CONTENT_BUCKET", args.ContentBucket},
		{"BACKUP_BUCKET", args.BackupBucket},
		{"STACK", args.Stack},
		{"BACKUP_RETENTION", fmt.Sprintf("%dh", args.BackupRetention)},
		{"VIP", args.VIP},
		{"AWS_REGION", args.Region},
		{"RELEASES_KEPT", args.ReleasesKept},
		{"DOMAIN", args.Domain},
		{"ALIASES", strings.Join(args.Aliases, ",")},
		{"SITE_NAMES", strings.Join(args.Names(), ",")},
		{"ACME_DIRECTORY", args.ACMEDirectory},
		{"ACME_EMAIL", args.ACMEEmail},
		{"METRICS_RETENTION", args.MetricsRetention},
		{"VICTOROPS_ROUTING", args.VictorOpsRouting},
		{"COMPOSE_PROFILES", args.profiles()},
		{"GF_AUTH_GITHUB_CLIENT_ID", args.GrafanaGitHubID},
		{"GF_AUTH_GITHUB_ALLOWED_ORGANIZATIONS", strings.Join(args.GrafanaGitHubOrganizations, ",")},
		{"HSTS", args.HSTS()},
		{"PHP_INTERNAL", !args.PHPEgress},
		{"SMTP", args.relay()},
		{"BUNDLE", args.BundleHash},
		{"GENERATION", args.Generation},
	} {
		value, err := quoted(fmt.Sprint(line.value))
		if err != nil {
			return "", fmt.Errorf("cannot write %s to server.env: %w", line.name, err)
		}
		fmt.Fprintf(&text, "%s=%s\n", line.name, value)
	}
	return text.String(), nil
}

// bootFiles returns the files of the directory boot, with their paths on the server.
func bootFiles() ([]file, error) {
	var files []file
	for _, entry := range []struct{ name, path, permissions string }{
		{"reboot-required", "/usr/local/sbin/reboot-required", "0755"},
		{"bootstrap-login", "/usr/local/sbin/bootstrap-login", "0755"},
		{"bootstrap-remove", "/usr/local/sbin/bootstrap-remove", "0755"},
		{"bootstrap-login.service", "/etc/systemd/system/bootstrap-login.service", "0644"},
		{"bootstrap-remove.service", "/etc/systemd/system/bootstrap-remove.service", "0644"},
		{"unclaimed.service", "/etc/systemd/system/unclaimed.service", "0644"},
		{"unclaimed.timer", "/etc/systemd/system/unclaimed.timer", "0644"},
		{"daemon.json", "/etc/docker/daemon.json", "0644"},
	} {
		content, err := boot.ReadFile("boot/" + entry.name)
		if err != nil {
			return nil, fmt.Errorf("cannot render the user data: %w", err)
		}
		files = append(files, file{Path: entry.path, Permissions: entry.permissions, Content: string(content)})
	}
	return files, nil
}
