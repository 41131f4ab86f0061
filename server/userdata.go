// Package server is what a server is made of: its cloud-init user data, and the
// bundle that is shipped to it. Pure functions of their arguments; nothing of
// Pulumi is in it.
package server

import (
	"bytes"
	"embed"
	"fmt"
	"sort"
	"strings"

	"gopkg.in/yaml.v3"
)

// BootstrapUser is the login that provisions a new server. It is removed when the
// VIP has arrived there.
const BootstrapUser = "bootstrap"

// agentUID is the user id of what the agent runs as. It is also Traefik's in its
// container, where there are no names: see compose.yaml.
const agentUID = 900

// MaxUserData is the most that EC2 takes as user data, in bytes.
const MaxUserData = 16 << 10

// Admin is a person with a login on every server.
type Admin struct {
	// Name is the login name.
	Name string
	// Keys are authorized_keys lines.
	Keys []string
}

// Environment is what a server has to know of the stack it belongs to.
type Environment struct {
	ContentBucket string
	BackupBucket  string
	// Stack names the stack in its backups: another one's are not restored.
	Stack string
	// VIP is the site's address, by which a server knows whether it is the one
	// that visitors see.
	VIP    string
	Region string
	// ReleasesKept is how many releases are kept beside the current one.
	ReleasesKept int

	// Domain is the site's name, and Aliases further ones that lead to it.
	Domain  string
	Aliases []string
	// ACMEDirectory is the URL of the certificate authority's directory, and
	// ACMEEmail the address of the account there.
	ACMEDirectory string
	ACMEEmail     string
	// ACMECA is the certificates, in PEM, by which that authority is trusted
	// besides those that every system trusts; "" is none.
	ACMECA string

	// MetricsRetention is for how long Prometheus keeps what it measured, in its
	// own form, such as 90d.
	MetricsRetention string
	// VictorOpsKey is where alerts may go, "" is nowhere; VictorOpsRouting is the
	// routing key there.
	VictorOpsKey     string
	VictorOpsRouting string
	// HeartbeatURL is where Alertmanager posts its heartbeat; "" is nowhere.
	HeartbeatURL string
	// BackupInterval is the time between two backups, as systemd writes it, such as
	// 1min, and BackupRetention for how long each of them can be restored, in Go's
	// form, such as 24h.
	BackupInterval  string
	BackupRetention string
	// Grafana runs Grafana, with logins by a GitHub OAuth app where it has an id.
	Grafana                    bool
	GrafanaGitHubID            string
	GrafanaGitHubSecret        string
	GrafanaGitHubOrganizations []string

	// HSTS is the value of the header Strict-Transport-Security; "" sends none.
	HSTS string
	// Mail is the relay of PHP's mail().
	Mail Mail
	// PHPEgress lets the scripts of the site connect to others.
	PHPEgress bool
}

// siteNames are all names that need a certificate.
func (e Environment) siteNames() []string {
	names := append([]string{e.Domain}, e.Aliases...)
	if e.Grafana {
		names = append(names, "monitoring."+e.Domain)
	}
	return names
}

// profiles are the profiles of the compose project that run.
func (e Environment) profiles() string {
	var profiles []string
	if e.Grafana {
		profiles = append(profiles, "grafana")
	}
	if e.Mail.Host != "" {
		profiles = append(profiles, "mail")
	}
	return strings.Join(profiles, ",")
}

// UserDataArgs are the arguments of UserData; all are mandatory.
type UserDataArgs struct {
	Admins  []Admin
	SSHPort int
	// HostPrivateKey is the SSH host key in OpenSSH's format, HostPublicKey and
	// HostCertificate are one line each.
	HostPrivateKey  string
	HostPublicKey   string
	HostCertificate string
	// BootstrapKey is the public key of the login that provisions the server,
	// one line.
	BootstrapKey string
	// BootstrapFrom are the CIDR blocks that this login is let in from; none means every
	// address that the firewall lets through.
	BootstrapFrom []string
	Environment   Environment
	// BundleHash and Generation are written down on the server. Their part is
	// to make the user data differ, and so to make a new server.
	BundleHash string
	Generation int
}

// packageUnits are the units of Debian's image that install packages by themselves.
var packageUnits = []string{"apt-daily.timer", "apt-daily-upgrade.timer", "unattended-upgrades.service"}

//go:embed boot
var boot embed.FS

// UserData renders the server's cloud-config.
func UserData(args UserDataArgs) (string, error) {
	environment, err := serverEnv(args)
	if err != nil {
		return "", fmt.Errorf("render user data: %w", err)
	}
	files := []file{
		{Path: "/etc/ssh/sshd_config.d/10-immutable-infra.conf", Content: sshdConfig(args)},
		{Path: "/etc/immutable-infra/server.env", Content: environment},
		{Path: "/etc/systemd/system/agent-backup.timer.d/interval.conf", Content: fmt.Sprintf("[Timer]\nOnUnitActiveSec=%s\n", args.Environment.BackupInterval)},
		{Path: "/etc/immutable-infra/bootstrap.pub", Content: bootstrapKey(args)},
		{Path: "/etc/immutable-infra/acme-ca.pem", Content: args.Environment.ACMECA},
		// Empty where there is no such secret: what has it as a mount needs the file.
		{Path: "/etc/immutable-infra/victorops.key", Permissions: "0600", Content: args.Environment.VictorOpsKey},
		{Path: "/etc/immutable-infra/github.secret", Permissions: "0600", Content: args.Environment.GrafanaGitHubSecret},
		// PHP's user has the same number in its container and here, where nobody else is it.
		{Path: "/etc/immutable-infra/msmtprc", Owner: "www-data:www-data", Permissions: "0400", Content: args.Environment.Mail.msmtprc()},
	}
	if args.Environment.HeartbeatURL != "" {
		files = append(files, file{
			Path: "/etc/immutable-infra/heartbeat.url", Permissions: "0600", Content: args.Environment.HeartbeatURL,
		})
	}
	booting, err := bootFiles()
	if err != nil {
		return "", err
	}
	config := cloudConfig{
		Users:                 users(args.Admins),
		DisableRoot:           true,
		AllowPasswords:        false,
		DeleteShippedHostKeys: true,
		HostKeys:              hostKeys{args.HostPrivateKey, args.HostPublicKey, args.HostCertificate},
		// What is named below and what it depends on, and nothing that it recommends.
		Apt: apt{Conf: "APT::Install-Recommends \"false\";\n"},
		// A server does not change: its updates come with the next one. Debian's image would change
		// its packages each day, and hold dpkg's lock while those below are installed.
		BootCommands:    [][]string{append([]string{"systemctl", "mask", "--now", "--no-block"}, packageUnits...)},
		UpdatePackages:  true,
		UpgradePackages: true,
		Packages:        []string{"ca-certificates", "curl", "docker.io", "docker-cli", "docker-compose", "docker-buildx", "iptables"},
		WriteFiles:      append(files, booting...),
		RunCommands:     [][]string{{"systemctl", "daemon-reload"}, {"systemctl", "enable", "--now", "--no-block", "bootstrap-login.service", "unclaimed.timer"}},
		PowerState:      powerState{Mode: "reboot", Message: "a package asks for it", Condition: "/usr/local/sbin/reboot-required"},
	}
	var text bytes.Buffer
	text.WriteString("#cloud-config\n")
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	if err := encoder.Encode(config); err != nil {
		return "", fmt.Errorf("render user data: %w", err)
	}
	if text.Len() > MaxUserData {
		return "", fmt.Errorf("the user data has %d bytes, EC2 takes %d; remove keys from admins, or certificates from acmeCA", text.Len(), MaxUserData)
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
		all = append(all, user{Name: admin.Name, Shell: "/bin/bash", LockPassword: true, Sudo: sudo, AuthorizedKeys: admin.Keys})
	}
	return append(all,
		// Its key comes when the server is ready to be provisioned: see boot/bootstrap-login.
		user{Name: BootstrapUser, Shell: "/bin/bash", LockPassword: true, Sudo: sudo},
		// What the agent runs as.
		user{Name: "site-agent", UID: agentUID, Shell: "/usr/sbin/nologin", LockPassword: true, System: true, NoCreateHome: true},
	)
}

// bootstrapKey is the line of authorized_keys for the bootstrap user.
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

// serverEnv is a file that systemd, Compose, the agent and a shell read alike.
func serverEnv(args UserDataArgs) (string, error) {
	environment := args.Environment
	var text strings.Builder
	for _, line := range []struct {
		name  string
		value any
	}{
		{"CONTENT_BUCKET", environment.ContentBucket},
		{"BACKUP_BUCKET", environment.BackupBucket},
		{"STACK", environment.Stack},
		{"BACKUP_RETENTION", environment.BackupRetention},
		{"VIP", environment.VIP},
		{"AWS_REGION", environment.Region},
		{"RELEASES_KEPT", environment.ReleasesKept},
		{"DOMAIN", environment.Domain},
		{"ALIASES", strings.Join(environment.Aliases, ",")},
		{"SITE_NAMES", strings.Join(environment.siteNames(), ",")},
		{"ACME_DIRECTORY", environment.ACMEDirectory},
		{"ACME_EMAIL", environment.ACMEEmail},
		{"METRICS_RETENTION", environment.MetricsRetention},
		{"VICTOROPS_ROUTING", environment.VictorOpsRouting},
		{"COMPOSE_PROFILES", environment.profiles()},
		{"GF_AUTH_GITHUB_CLIENT_ID", environment.GrafanaGitHubID},
		{"GF_AUTH_GITHUB_ALLOWED_ORGANIZATIONS", strings.Join(environment.GrafanaGitHubOrganizations, ",")},
		{"HSTS", environment.HSTS},
		{"PHP_INTERNAL", !environment.PHPEgress},
		{"SMTP", environment.Mail.address()},
		{"BUNDLE", args.BundleHash},
		{"GENERATION", args.Generation},
	} {
		value, err := quoted(fmt.Sprint(line.value))
		if err != nil {
			return "", fmt.Errorf("server.env: %s: %w", line.name, err)
		}
		fmt.Fprintf(&text, "%s=%s\n", line.name, value)
	}
	return text.String(), nil
}

// bootFiles are the files of the directory boot, where they belong on the server.
func bootFiles() ([]file, error) {
	var files []file
	for _, place := range []struct{ name, path, permissions string }{
		{"reboot-required", "/usr/local/sbin/reboot-required", "0755"},
		{"bootstrap-login", "/usr/local/sbin/bootstrap-login", "0755"},
		{"bootstrap-remove", "/usr/local/sbin/bootstrap-remove", "0755"},
		{"bootstrap-login.service", "/etc/systemd/system/bootstrap-login.service", "0644"},
		{"bootstrap-remove.service", "/etc/systemd/system/bootstrap-remove.service", "0644"},
		{"unclaimed.service", "/etc/systemd/system/unclaimed.service", "0644"},
		{"unclaimed.timer", "/etc/systemd/system/unclaimed.timer", "0644"},
		{"daemon.json", "/etc/docker/daemon.json", "0644"},
	} {
		content, err := boot.ReadFile("boot/" + place.name)
		if err != nil {
			return nil, fmt.Errorf("render user data: %w", err)
		}
		files = append(files, file{Path: place.path, Permissions: place.permissions, Content: string(content)})
	}
	return files, nil
}
