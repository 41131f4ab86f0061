package stack

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"immutable-infra/internal/golden"
	"immutable-infra/server"
)

// publicKey returns an authorized_keys line.
func publicKey(t *testing.T) string {
	t.Helper()
	key, err := ssh.NewPublicKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public())
	require.NoError(t, err)
	return fmt.Sprintf("%s%s", ssh.MarshalAuthorizedKey(key)[:len(ssh.MarshalAuthorizedKey(key))-1], " admin@example")
}

// inProject runs the test in a project directory with an empty site.
func inProject(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	require.NoError(t, os.Mkdir("site", 0o755))
}

// ours replaces the documentation's placeholders by values for a real stack.
var ours = map[string]string{
	"domain": "our-site.org", "acmeEmail": "ada@our-site.org", "sshAllowFrom": `["100.64.7.7/32"]`,
	"ami": "ami-00000000000000001",
}

// valid returns the minimal configuration of a stack.
func valid(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{
		"aws:region":   "eu-central-1",
		"domain":       "example.org",
		"admins":       fmt.Sprintf(`[{"name": "admin", "keys": [%q]}]`, publicKey(t)),
		"sshAllowFrom": `["192.0.2.7/32"]`,
		"ami":          "ami-0123456789abcdef0",
		"acmeEmail":    "admin@example.org",
	}
}

func TestMinimalConfigurationGetsTheDefaults(t *testing.T) {
	inProject(t)
	config, err := Parse(valid(t))
	require.NoError(t, err)

	expected := Defaults()
	expected.Region = "eu-central-1"
	expected.Domain = "example.org"
	expected.ACMEEmail = "admin@example.org"
	expected.Admins = []server.Admin{{Name: "admin", Keys: []string{publicKey(t)}}}
	expected.SSHAllowFrom = []string{"192.0.2.7/32"}
	expected.AMI = "ami-0123456789abcdef0"
	require.Equal(t, &expected, config)
}

func TestAnAdminsKeysMayBeFiles(t *testing.T) {
	inProject(t)
	require.NoError(t, os.WriteFile("keys.pub", []byte("# mine\n"+publicKey(t)+"\n\n"), 0o644))
	home := t.TempDir()
	t.Setenv("HOME", home)
	require.NoError(t, os.WriteFile(filepath.Join(home, "other.pub"), []byte(publicKey(t)), 0o644))

	values := valid(t)
	values["admins"] = `[{"name": "admin", "keys": ["./keys.pub", "~/other.pub"]}]`
	config, err := Parse(values)
	require.NoError(t, err)
	require.Equal(t, []string{publicKey(t), publicKey(t)}, config.Admins[0].Keys)
}

func TestTheInstanceTypesFamilyDecidesTheArchitecture(t *testing.T) {
	for instanceType, architecture := range map[string]string{
		"t4g.micro": "arm64", "m7gd.large": "arm64", "c6gn.medium": "arm64", "a1.medium": "arm64", "x2gd.medium": "arm64",
		"t3.micro": "amd64", "t3a.small": "amd64", "m5.large": "amd64", "g4dn.xlarge": "amd64", "u-6tb1.metal": "amd64",
	} {
		require.Equal(t, architecture, (&server.Settings{InstanceType: instanceType}).Architecture(), instanceType)
	}
}

func TestWebHookOfUptimeRobotEndsWithAQuestionMark(t *testing.T) {
	inProject(t)
	for _, written := range []string{"https://alert.victorops.com/a/b/site", "https://alert.victorops.com/a/b/site?"} {
		values := valid(t)
		values["uptimeRobotKey"], values["uptimeRobotWebhook"] = "u1234567-0123456789abcdef01234567", written
		config, err := Parse(values)
		require.NoError(t, err)
		require.Equal(t, "https://alert.victorops.com/a/b/site?", config.secret.UptimeRobotWebhook)
		require.Equal(t, "status.example.org", config.StatusPageName())
		config.StatusPage = false
		require.Empty(t, config.StatusPageName())
	}
}

func TestHeartbeatMonitorsOfEveryVendorAreAccepted(t *testing.T) {
	inProject(t)
	for _, address := range []string{
		"", "https://heartbeat.uptimerobot.com/m0123456789-0123456789abcdef",
		"https://hc-ping.com/1d8a1c2e-0000-4000-8000-0123456789ab",
		"https://nosnch.in/0123456789", "https://uptime.betterstack.com/api/v1/heartbeat/0123",
		"https://api.opsgenie.com:443/v2/ping?apiKey=0123",
	} {
		values := valid(t)
		values["heartbeatURL"] = address
		config, err := Parse(values)
		require.NoError(t, err, address)
		require.Equal(t, address, config.secret.HeartbeatURL)
	}
}

func TestFurtherRecordsAreCompleted(t *testing.T) {
	inProject(t)
	values := valid(t)
	values["dnsRecords"] = `[{"name": "_dmarc.example.org", "type": "TXT", "values": ["v=DMARC1; p=reject"]}, {"name": "*.blog.example.org", "type": "CNAME", "ttl": 60, "values": ["example.org."]}]`
	config, err := Parse(values)
	require.NoError(t, err)
	require.Equal(t, []DNSRecord{
		{Name: "_dmarc.example.org", Type: "TXT", TTL: 3600, Values: []string{"v=DMARC1; p=reject"}},
		{Name: "*.blog.example.org", Type: "CNAME", TTL: 60, Values: []string{"example.org."}},
	}, config.DNSRecords)
}

func TestTheRootsOfAnAuthorityAreReadFromTheirFile(t *testing.T) {
	inProject(t)
	root := certificate(t)
	require.NoError(t, os.WriteFile("roots.pem", append(root, root...), 0o644))
	values := valid(t)
	values["acmeCA"] = "roots.pem"
	config, err := Parse(values)
	require.NoError(t, err)
	require.Equal(t, string(root)+string(root), config.ACMERoots)
}

// certificate returns a self-signed certificate in PEM.
func certificate(t *testing.T) []byte {
	t.Helper()
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// invalid is a configuration with a problem.
type invalid struct {
	// stack is the stack's name. Without one, checks that depend on it are skipped.
	stack string
	// change and remove modify a valid configuration; files are created in the project's directory.
	change map[string]string
	remove []string
	files  map[string]string
	// errors maps each key that has a problem to a part of its message.
	errors map[string]string
}

// malformed returns configurations that are invalid in any stack.
func malformed(t *testing.T) map[string]invalid {
	key := publicKey(t)
	return map[string]invalid{
		"nothing is set": {
			remove: []string{"aws:region", "domain", "admins", "sshAllowFrom", "ami", "acmeEmail"},
			errors: map[string]string{
				"aws:region": "eu-central-1", "domain": "pulumi config set domain example.org",
				"admins":       "pulumi config set --path 'admins[0].name' ada",
				"sshAllowFrom": "such as 192.0.2.7/32", "ami": "136693071363", "acmeEmail": "pulumi config set acmeEmail",
			},
		},
		"a URL as the domain": {
			change: map[string]string{"domain": "https://example.org/"},
			errors: map[string]string{"domain": "without a scheme"},
		},
		"a domain in capitals": {
			change: map[string]string{"domain": "Example.org"},
			errors: map[string]string{"domain": "lower case"},
		},
		"a bare label as the domain": {
			change: map[string]string{"domain": "localhost"},
			errors: map[string]string{"domain": "host name"},
		},
		"an address as the domain": {
			change: map[string]string{"domain": "192.0.2.1"},
			errors: map[string]string{"domain": "host name"},
		},
		"aliases that are not a list": {
			change: map[string]string{"aliases": "www.example.org"},
			errors: map[string]string{"aliases": "a list of strings"},
		},
		"an alias that is the domain": {
			change: map[string]string{"aliases": `["www.example.org", "example.org"]`},
			errors: map[string]string{"aliases[1]": "write each name once"},
		},
		"an alias twice": {
			change: map[string]string{"aliases": `["www.example.org", "www.example.org"]`},
			errors: map[string]string{"aliases[1]": "write each name once"},
		},
		"admins in another form": {
			change: map[string]string{"admins": `{"admin": "key"}`},
			errors: map[string]string{"admins": "a list of {name, keys}"},
		},
		"a misspelled field of an admin": {
			change: map[string]string{"admins": `[{"name": "admin", "key": "x"}]`},
			errors: map[string]string{"admins": `unknown field "key"`},
		},
		"an admin called root": {
			change: map[string]string{"admins": fmt.Sprintf(`[{"name": "root", "keys": [%q]}]`, key)},
			errors: map[string]string{"admins[0].name": "taken"},
		},
		"the bootstrap user's name": {
			change: map[string]string{"admins": fmt.Sprintf(`[{"name": "bootstrap", "keys": [%q]}]`, key)},
			errors: map[string]string{"admins[0].name": "taken"},
		},
		"an admin's name with a space": {
			change: map[string]string{"admins": fmt.Sprintf(`[{"name": "the admin", "keys": [%q]}]`, key)},
			errors: map[string]string{"admins[0].name": "login name"},
		},
		"an admin twice": {
			change: map[string]string{
				"admins": fmt.Sprintf(`[{"name": "a", "keys": [%q]}, {"name": "a", "keys": [%q]}]`, key, key),
			},
			errors: map[string]string{"admins[1].name": "duplicate"},
		},
		"an admin without keys": {
			change: map[string]string{"admins": `[{"name": "admin", "keys": []}]`},
			errors: map[string]string{"admins[0].keys": "no key"},
		},
		"a value that is not a key": {
			change: map[string]string{"admins": `[{"name": "admin", "keys": ["AAAA"]}]`},
			errors: map[string]string{"admins[0].keys[0]": "authorized_keys line"},
		},
		"a key file that is missing": {
			change: map[string]string{"admins": `[{"name": "admin", "keys": ["./missing.pub"]}]`},
			errors: map[string]string{"admins[0].keys[0]": `"./missing.pub" cannot be read`},
		},
		"a private key": {
			change: map[string]string{"admins": `[{"name": "admin", "keys": ["./private"]}]`},
			errors: map[string]string{"admins[0].keys[0]": "private key"},
		},
		"a key file without a key": {
			change: map[string]string{"admins": `[{"name": "admin", "keys": ["./empty.pub"]}]`},
			errors: map[string]string{"admins[0].keys[0]": "holds no key"},
		},
		"an SSH port in words": {
			change: map[string]string{"sshPort": "twenty-two"},
			errors: map[string]string{"sshPort": "not an integer"},
		},
		"an SSH port out of range": {
			change: map[string]string{"sshPort": "122222"},
			errors: map[string]string{"sshPort": "from 1 to 65535"},
		},
		"the web's port for SSH": {
			change: map[string]string{"sshPort": "443"},
			errors: map[string]string{"sshPort": "web server"},
		},
		"an address, not a block": {
			change: map[string]string{"sshAllowFrom": `["192.0.2.7"]`},
			errors: map[string]string{"sshAllowFrom[0]": "CIDR block"},
		},
		"a block with host bits": {
			change: map[string]string{"sshAllowFrom": `["192.0.2.7/24"]`},
			errors: map[string]string{"sshAllowFrom[0]": "'sshAllowFrom[0]' 192.0.2.0/24"},
		},
		"an IPv6 block": {
			change: map[string]string{"sshAllowFrom": `["2001:db8::/32"]`},
			errors: map[string]string{"sshAllowFrom[0]": "IPv4"},
		},
		"an AMI's name, not its id": {
			change: map[string]string{"ami": "debian-13"},
			errors: map[string]string{"ami": "not an AMI id"},
		},
		"an AMI by SSM parameter": {
			change: map[string]string{"ami": "resolve:ssm:/aws/x"},
			errors: map[string]string{"ami": "not an AMI id"},
		},
		"a size, not an instance type": {
			change: map[string]string{"instanceType": "micro"},
			errors: map[string]string{"instanceType": "pulumi config set instanceType t4g.small"},
		},
		"a root volume too small": {
			change: map[string]string{"rootVolumeSize": "4"},
			errors: map[string]string{"rootVolumeSize": "from 8"},
		},
		"a negative generation": {
			change: map[string]string{"generation": "-1"},
			errors: map[string]string{"generation": "from 0"},
		},
		"longer than bootstrap's login": {
			change: map[string]string{"provisioningTimeout": "90"},
			errors: map[string]string{"provisioningTimeout": "to 25"},
		},
		"a bake of a day": {
			change: map[string]string{"bakeTime": "86400"},
			errors: map[string]string{"bakeTime": "0 to 600"},
		},
		"a public VPC range": {
			change: map[string]string{"vpcCidr": "198.51.0.0/16"},
			errors: map[string]string{"vpcCidr": "private"},
		},
		"a VPC that is too small": {
			change: map[string]string{"vpcCidr": "10.42.0.0/28"},
			errors: map[string]string{"vpcCidr": "/16 to /24"},
		},
		"a missing site directory": {
			change: map[string]string{"siteDir": "blog"},
			errors: map[string]string{"siteDir": `"blog" is no directory`},
		},
		"an empty JEKYLL_ENV": {
			change: map[string]string{"jekyllEnv": ""},
			errors: map[string]string{"jekyllEnv": "production or development"},
		},
		"a boolean in words": {
			change: map[string]string{"protect": "yes"},
			errors: map[string]string{"protect": "neither true nor false"},
		},
		"no releases kept": {
			change: map[string]string{"releasesKept": "0"},
			errors: map[string]string{"releasesKept": "from 1"},
		},
		"too many versions for S3": {
			change: map[string]string{"backupVersionsKept": "1000"},
			errors: map[string]string{"backupVersionsKept": "to 100"},
		},
		"a value that is not a region": {
			change: map[string]string{"aws:region": "europe"},
			errors: map[string]string{"aws:region": "eu-central-1"},
		},
		"Grafana on a small server": {
			change: map[string]string{"instanceType": "t4g.micro"},
			errors: map[string]string{"instanceType": "pulumi config set grafana false"},
		},
		"backups too far apart": {
			change: map[string]string{"backupInterval": "601"},
			errors: map[string]string{"backupInterval": "from 15 to 600"},
		},
		"a misspelled key": {
			change: map[string]string{"instancetype": "t3.micro"},
			errors: map[string]string{"instancetype": "did you mean instanceType?"},
		},
		"an unknown key": {
			change: map[string]string{"frobnicate": "1"},
			errors: map[string]string{"frobnicate": "unknown key"},
		},
		"a zone's name, not its id": {
			change: map[string]string{"zoneId": "example.org"},
			errors: map[string]string{"zoneId": "not the id of a hosted zone"},
		},
		"a record without a type": {
			change: map[string]string{"dnsRecords": `[{"name": "example.org", "values": ["x"]}]`},
			errors: map[string]string{"dnsRecords[0].type": "write one of A, AAAA, CAA"},
		},
		"a record's name with a dot": {
			change: map[string]string{"dnsRecords": `[{"name": "example.org.", "type": "TXT", "values": ["x"]}]`},
			errors: map[string]string{"dnsRecords[0].name": "without a dot at its end"},
		},
		"a record without values": {
			change: map[string]string{"dnsRecords": `[{"name": "example.org", "type": "TXT"}]`},
			errors: map[string]string{"dnsRecords[0].values": "is empty"},
		},
		"a record with a TTL of a year": {
			change: map[string]string{
				"dnsRecords": `[{"name": "example.org", "type": "TXT", "ttl": 31536000, "values": ["x"]}]`,
			},
			errors: map[string]string{"dnsRecords[0].ttl": "from 1 to 604800"},
		},
		"a second address of the site": {
			change: map[string]string{
				"dnsRecords": `[{"name": "monitoring.example.org", "type": "A", "values": ["192.0.2.1"]}]`,
			},
			errors: map[string]string{"dnsRecords[0].name": "the site's own names"},
		},
		"a record in two entries": {
			change: map[string]string{
				"dnsRecords": `[{"name": "example.org", "type": "MX", "values": ["1 a.example.org."]}, {"name": "example.org", "type": "MX", "values": ["2 b.example.org."]}]`,
			},
			errors: map[string]string{"dnsRecords[1].name": "one entry"},
		},
		"a CNAME for the site": {
			change: map[string]string{
				"dnsRecords": `[{"name": "example.org", "type": "CNAME", "values": ["elsewhere.example."]}]`,
			},
			errors: map[string]string{"dnsRecords[0].type": "cannot have a CNAME"},
		},
		"two CNAMEs for one name": {
			change: map[string]string{
				"dnsRecords": `[{"name": "blog.example.org", "type": "CNAME", "values": ["a.example.", "b.example."]}]`,
			},
			errors: map[string]string{"dnsRecords[0].values": "one CNAME"},
		},
		"an ACME directory by HTTP": {
			change: map[string]string{"acmeDirectory": "http://acme.example/dir"},
			errors: map[string]string{"acmeDirectory": "https://acme-v02.api.letsencrypt.org/directory"},
		},
		"a name as e-mail address": {
			change: map[string]string{"acmeEmail": "Admin <admin@example.org>"},
			errors: map[string]string{"acmeEmail": "admin@example.org"},
		},
		"a name for a boundary": {
			change: map[string]string{"serverBoundary": "immutable-infra-server-production"},
			errors: map[string]string{"serverBoundary": "make access"},
		},
		"a missing file of roots": {
			change: map[string]string{"acmeCA": "missing.pem"},
			errors: map[string]string{"acmeCA": `"missing.pem" cannot be read`},
		},
		"a private key as roots": {
			change: map[string]string{"acmeCA": "key.pem"},
			errors: map[string]string{"acmeCA": "has a PRIVATE KEY in it"},
		},
		"roots without a certificate": {
			change: map[string]string{"acmeCA": "empty.pub"},
			errors: map[string]string{"acmeCA": `"empty.pub" has no certificate in it`},
		},
		"a retention without a unit": {
			change: map[string]string{"metricsRetention": "90"},
			errors: map[string]string{"metricsRetention": "90d"},
		},
		"a malformed VictorOps key": {
			change: map[string]string{"victorOpsKey": "alerts"},
			errors: map[string]string{"victorOpsKey": "pulumi config set --secret victorOpsKey"},
		},
		"a heartbeat by HTTP": {
			change: map[string]string{"heartbeatURL": "http://hc-ping.com/0f0e"},
			errors: map[string]string{"heartbeatURL": "pulumi config set --secret heartbeatURL"},
		},
		"a heartbeat with a password": {
			change: map[string]string{"heartbeatURL": "https://me:secret@hc-ping.com/0f0e"},
			errors: map[string]string{"heartbeatURL": "without a user or a password"},
		},
		"a heartbeat without a token": {
			change: map[string]string{"heartbeatURL": "https://heartbeat.uptimerobot.com/"},
			errors: map[string]string{"heartbeatURL": "write the one that the monitor shows"},
		},
		"a heartbeat's token alone": {
			change: map[string]string{"heartbeatURL": "m0123456789-0123456789abcdef"},
			errors: map[string]string{"heartbeatURL": "write the one that the monitor shows"},
		},
		"a heartbeat with a space": {
			change: map[string]string{"heartbeatURL": "https://hc-ping.com/0f0e "},
			errors: map[string]string{"heartbeatURL": "not the URL"},
		},
		"a routing key with a slash": {
			change: map[string]string{"victorOpsRouting": "a/b"},
			errors: map[string]string{"victorOpsRouting": "not a routing key"},
		},
		"GitHub's id without a secret": {
			change: map[string]string{"grafanaGitHubId": "Iv1.0123"},
			errors: map[string]string{"grafanaGitHubSecret": "grafanaGitHubId", "grafanaGitHubOrganizations": "everybody"},
		},
		"a key that may only read": {
			change: map[string]string{"uptimeRobotKey": "ur1234567-0123456789abcdef01234567"},
			errors: map[string]string{"uptimeRobotKey": "read-only"},
		},
		"UptimeRobot's API by HTTP": {
			change: map[string]string{"uptimeRobotAPI": "http://api.uptimerobot.com/v3"},
			errors: map[string]string{"uptimeRobotAPI": "https://api.uptimerobot.com/v3"},
		},
		"probes in too short intervals": {
			change: map[string]string{"uptimeRobotInterval": "5"},
			errors: map[string]string{"uptimeRobotInterval": "from 30"},
		},
		"a web-hook without a key": {
			change: map[string]string{"uptimeRobotWebhook": "https://alert.victorops.com/a/b/site?"},
			errors: map[string]string{"uptimeRobotKey": "required with uptimeRobotWebhook"},
		},
		"a web-hook with its placeholder": {
			change: map[string]string{
				"uptimeRobotKey":     "u1234567-0123456789abcdef01234567",
				"uptimeRobotWebhook": "https://alert.victorops.com/a/b/$routing_key",
			},
			errors: map[string]string{"uptimeRobotWebhook": "one of your routing keys"},
		},
		"a web-hook that is a key": {
			change: map[string]string{
				"uptimeRobotKey":     "u1234567-0123456789abcdef01234567",
				"uptimeRobotWebhook": "01234567-89ab-cdef-0123-456789abcdef",
			},
			errors: map[string]string{"uptimeRobotWebhook": "copy it from there"},
		},
		"a record with the status page's name": {
			change: map[string]string{
				"uptimeRobotKey": "u1234567-0123456789abcdef01234567",
				"dnsRecords":     `[{"name": "status.example.org", "type": "TXT", "values": ["a"]}]`,
			},
			errors: map[string]string{"dnsRecords[0].name": "pulumi config set statusPage false"},
		},
		"an organization with a space": {
			change: map[string]string{"grafanaGitHubOrganizations": `["my org"]`},
			errors: map[string]string{"grafanaGitHubOrganizations[0]": "GitHub organization"},
		},
		"GitHub's secret without an id": {
			change: map[string]string{"grafanaGitHubSecret": "0123456789abcdef"},
			errors: map[string]string{"grafanaGitHubId": "required with grafanaGitHubSecret"},
		},
		"GitHub's id with a space": {
			change: map[string]string{
				"grafanaGitHubId":            "my app",
				"grafanaGitHubSecret":        "x",
				"grafanaGitHubOrganizations": `["a"]`,
			},
			errors: map[string]string{"grafanaGitHubId": "not the client id"},
		},
		"a list as the domain": {
			change: map[string]string{"domain": `["example.org"]`},
			errors: map[string]string{"domain": "is a list or an object; write a string"},
		},
		"a build command in words": {
			change: map[string]string{"buildCommand": `["make", "site"]`},
			errors: map[string]string{"buildCommand": "pulumi config set buildCommand 'jekyll build'"},
		},
		"a list with trailing text": {
			change: map[string]string{"aliases": `["www.example.org"] x`},
			errors: map[string]string{"aliases": "a list of strings"},
		},
		"a list with a number in it": {
			change: map[string]string{"dnsRecords": `[{"name": "example.org", "type": "TXT", "values": [7]}]`},
			errors: map[string]string{"dnsRecords": "values holds a number"},
		},
		"a number in place of a list": {
			change: map[string]string{"sshAllowFrom": "7"},
			errors: map[string]string{"sshAllowFrom": `pulumi config set sshAllowFrom '["192.0.2.7/32"]'`},
		},
		"a fraction of a gibibyte": {
			change: map[string]string{"rootVolumeSize": "20.5"},
			errors: map[string]string{"rootVolumeSize": `"20.5" is not an integer`},
		},
		"no retention of backups": {
			change: map[string]string{"backupRetention": "0"},
			errors: map[string]string{"backupRetention": "from 2 to 8760"},
		},
		"versions kept for no day": {
			change: map[string]string{"backupVersionDays": "0"},
			errors: map[string]string{"backupVersionDays": "from 1 to 3650"},
		},
		"Grafana, perhaps": {
			change: map[string]string{"grafana": "perhaps"},
			errors: map[string]string{"grafana": "neither true nor false"},
		},
		"a private key in place": {
			change: map[string]string{
				"admins": `[{"name": "admin", "keys": ["-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz"]}]`,
			},
			errors: map[string]string{"admins[0].keys[0]": "is a private key"},
		},
		"a VPC range with host bits": {
			change: map[string]string{"vpcCidr": "10.42.0.1/16"},
			errors: map[string]string{"vpcCidr": "pulumi config set vpcCidr 10.42.0.0/16"},
		},
		"no admins": {change: map[string]string{"admins": "[]"}, errors: map[string]string{"admins": "who may log in"}},
		"several problems at once": {
			change: map[string]string{
				"domain": "x", "sshPort": "0", "protect": "1", "ami": "ami-x", "sshAllowFrom": `["any"]`, "colour": "red",
			},
			errors: map[string]string{
				"domain": "", "sshPort": "", "protect": "", "ami": "", "sshAllowFrom[0]": "", "colour": "",
			},
		},
	}
}

func (i invalid) problems(t *testing.T, values map[string]string) Problems {
	t.Helper()
	from := source{}
	if i.stack != "" {
		from = source{stack: i.stack, project: "immutable-infra", directory: ".", encrypted: isSecret}
	}
	config, err := parse(from, values)
	if err == nil {
		return nil
	}
	require.Nil(t, config)
	var problems Problems
	require.True(t, errors.As(err, &problems), "%v", err)
	return problems
}

// values returns the values of the configuration, after creating a new project directory.
func (i invalid) values(t *testing.T) map[string]string {
	t.Helper()
	inProject(t)
	for name, content := range map[string]string{
		"private":   "-----BEGIN OPENSSH PRIVATE KEY-----\n",
		"empty.pub": "# nothing\n",
		"key.pem":   "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n",
		"roots.pem": string(certificate(t)),
	} {
		require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
	}
	for name, content := range i.files {
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(content), 0o644))
	}
	values := valid(t)
	if i.stack != "" {
		maps.Copy(values, ours)
	}
	maps.Copy(values, i.change)
	for _, key := range i.remove {
		delete(values, key)
	}
	return values
}

// requireRejected requires that each configuration is rejected: the error names exactly the expected keys, with the
// expected messages.
func requireRejected(t *testing.T, configurations map[string]invalid) {
	for name, test := range configurations {
		t.Run(name, func(t *testing.T) {
			problems := test.problems(t, test.values(t))
			named := map[string]bool{}
			for _, problem := range problems {
				expected, ok := test.errors[problem.Key]
				require.True(t, ok, "%s is named, but nothing is wrong with it: %s", problem.Key, problem.Reason)
				require.Contains(t, problem.Reason+"\n"+strings.Join(problem.Commands, "\n"), expected)
				require.Contains(t, problem.Reason, "; ", "what is wrong; what to write")
				named[problem.Key] = true
			}
			for key := range test.errors {
				require.True(t, named[key], "%s is not named in: %v", key, problems)
			}
		})
	}
}

func TestEveryProblemIsNamedInOneError(t *testing.T) {
	requireRejected(t, malformed(t))
}

func TestAtLeastSixtyInvalidConfigurationsAreTested(t *testing.T) {
	different := map[string]bool{}
	for _, configurations := range []map[string]invalid{malformed(t), misplaced(t)} {
		for _, test := range configurations {
			different[fmt.Sprint(test.stack, test.change, test.remove, test.files)] = true
		}
	}
	t.Logf("%d invalid configurations", len(different))
	require.GreaterOrEqual(t, len(different), 60)
}

// filledIn replaces the placeholders in the commands of problems, as a user or a shell would.
var filledIn = strings.NewReplacer(
	ownKey, "./own.pub", ownAddress, "100.64.7.7/32",
	"YOUR-DOMAIN", "our-other-site.org", "YOU@", "ada@", "YOUR-ADDRESS", "100.64.7.7", "YOUR-ZONE-ID",
	"Z00000000000000000001",
)

func TestCommandsOfMessagesLeadToAValidConfiguration(t *testing.T) {
	secrets := map[string]string{
		"victorOpsKey": "01234567-89ab-cdef-0123-456789abcdef", "grafanaGitHubSecret": "0123456789abcdef",
		"uptimeRobotKey": "u1234567-0123456789abcdef01234567", "uptimeRobotWebhook": "https://alert.victorops.com/a/b/site",
		"smtpPassword": "correct horse", "heartbeatURL": "https://hc-ping.com/0f0e",
	}
	followed := map[string]invalid{}
	maps.Copy(followed, malformed(t))
	maps.Copy(followed, misplaced(t))
	maps.Copy(followed, failingLate(t))
	for name, test := range followed {
		t.Run(name, func(t *testing.T) {
			values := test.values(t)
			require.NoError(t, os.WriteFile("own.pub", []byte(publicKey(t)), 0o644))
			// Unreadable values may have hidden further problems.
			for round := 0; ; round++ {
				problems := test.problems(t, values)
				if len(problems) == 0 {
					break
				}
				require.Less(t, round, 3, "%v", problems)
				var removals []func()
				for _, problem := range problems {
					if strings.HasPrefix(problem.Key, "Pulumi.") {
						// Only an operator can correct another stack's file.
						require.Empty(t, problem.Commands, problem.Key)
						return
					}
					require.NotEmpty(t, problem.Commands, problem.Key)
					for _, command := range problem.Commands {
						match := commands.FindStringSubmatch(filledIn.Replace(command))
						require.NotNil(t, match, command)
						action, secret, key, value := match[1], match[2], match[3]+match[4], match[5]+match[6]
						require.Equal(t, test.stack, match[7], command)
						if strings.HasPrefix(value, `"$(aws ec2 `) {
							value = "ami-00000000000000001"
						}
						switch {
						case secret != "":
							require.Empty(t, value, "a secret in a command")
							values[key] = secrets[key]
						case action == "set":
							change(t, values, key, &value)
						default:
							removals = append(removals, func() { change(t, values, key, nil) })
						}
					}
				}
				// Remove the last element first, because a removal changes the indexes of later ones.
				slices.Reverse(removals)
				for _, remove := range removals {
					remove()
				}
			}
		})
	}
}

// commands matches the commands of problems.
var commands = regexp.MustCompile(`^pulumi config (set|rm) (--secret )?(?:--path '([^']+)'|([\w:]+))(?: (?:'([^']+)'|(\S+|"\$\(.*\)[^"]*")))??(?: --stack ([\w-]+))?$`)

// change changes values like pulumi config set and rm, with --path if the key is a path.
func change(t *testing.T, values map[string]string, key string, value *string) {
	t.Helper()
	all := config.Map{}
	name := func(key string) config.Key { return config.MustMakeKey("immutable-infra", key) }
	for key, value := range values {
		entry := config.NewValue(value)
		if strings.HasPrefix(value, "[") && json.Valid([]byte(value)) {
			entry = config.NewObjectValue(value)
		}
		require.NoError(t, all.Set(name(key), entry, false))
	}
	if value == nil {
		require.NoError(t, all.Remove(name(key), isPath(key)))
	} else {
		require.NoError(t, all.Set(name(key), config.NewValue(*value), isPath(key)))
	}
	clear(values)
	for key, value := range all {
		text, err := value.Value(config.NewPanicCrypter())
		require.NoError(t, err)
		values[key.Name()] = text
	}
}

func TestNoMessageShowsASecret(t *testing.T) {
	inProject(t)
	for _, key := range []string{
		"victorOpsKey", "heartbeatURL", "grafanaGitHubSecret", "uptimeRobotKey", "uptimeRobotWebhook", "smtpPassword",
	} {
		require.True(t, isSecret(key), key)
	}
	const canary = "canary"
	for _, value := range []string{
		canary, "https://" + canary + ".localcloud.test/" + canary, `["` + canary + `"]`, `{"a": "` + canary + `"}`,
		"https://" + canary + "/$routing_key", "u1-" + canary, canary + "\x00",
	} {
		for _, encrypted := range []bool{true, false} {
			for _, key := range Keys() {
				if !encrypted && !isSecret(key) {
					continue
				}
				values := valid(t)
				values[key] = value
				_, err := parse(source{
					stack:     "production",
					project:   "immutable-infra",
					directory: ".",
					encrypted: func(string) bool { return encrypted },
				}, values)
				require.Error(t, err)
				require.NotContains(t, err.Error(), canary, "%s: %q", key, value)
				if !encrypted {
					require.Contains(t, err.Error(),
						"\n  "+key+
							": is a secret in plain text; encrypt it, and rotate it if others could read it\n"+
							"    pulumi config set --secret "+key+" --stack production")
				}
			}
		}
	}
}

func TestNoCommandShowsAnEncryptedValue(t *testing.T) {
	inProject(t)
	values := valid(t)
	values["sshAllowFrom"], values["vpcCidr"] = `["100.77.66.55/24"]`, "10.77.66.55/24"
	_, err := parse(source{encrypted: func(string) bool { return true }}, values)
	require.ErrorContains(t, err, "sshAllowFrom[0]: the value has bits set beyond its prefix")
	require.NotContains(t, err.Error(), "77.66")
}

func TestEncryptedAndMissingSecretsAreAccepted(t *testing.T) {
	inProject(t)
	values := valid(t)
	maps.Copy(values, ours)
	values["victorOpsKey"], values["grafanaGitHubSecret"] = "01234567-89ab-cdef-0123-456789abcdef", ""
	_, err := parse(source{
		stack:     "production",
		project:   "immutable-infra",
		directory: ".",
		encrypted: func(key string) bool { return key == "victorOpsKey" },
	}, values)
	require.NoError(t, err)
}

// noEngine is an engine that expects no requests.
type noEngine struct{}

func (noEngine) NewResource(pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	return "", nil, errors.New("no resource is expected")
}

func (noEngine) Call(pulumi.MockCallArgs) (resource.PropertyMap, error) {
	return nil, errors.New("no call is expected")
}

func TestLoadReadsTheStacksFilesAndEncryption(t *testing.T) {
	inProject(t)
	elsewhere := t.TempDir()
	require.NoError(t,
		os.WriteFile(filepath.Join(elsewhere, "Pulumi.production.yaml"), []byte("config:\n  ours:domain: our-site.org\n"),
			0o644))
	values := valid(t)
	maps.Copy(values, ours)
	load := func(stack string, change map[string]string, secret ...string) error {
		passed := map[string]string{"aws:region": "eu-central-1"}
		for key, value := range values {
			passed[qualified("ours", key)] = value
		}
		maps.Copy(passed, change)
		encoded, err := json.Marshal(passed)
		require.NoError(t, err)
		t.Setenv(pulumi.EnvConfig, string(encoded))
		return pulumi.RunErr(func(ctx *pulumi.Context) error {
			config, err := Load(ctx)
			if err == nil {
				require.Equal(t, passed["ours:domain"], config.Domain)
			}
			return err
		}, pulumi.WithMocks("ours", stack, noEngine{}), func(info *pulumi.RunInfo) {
			info.Config, info.ConfigSecretKeys, info.RootDirectory = passed, secret, elsewhere
		})
	}
	require.NoError(t, load("production", nil))
	key := map[string]string{"ours:victorOpsKey": "01234567-89ab-cdef-0123-456789abcdef"}
	require.NoError(t, load("production", key, "ours:victorOpsKey"))
	require.ErrorContains(t, load("production", key), "pulumi config set --secret victorOpsKey --stack production")
	require.ErrorContains(t, load("test", nil), "Pulumi.production.yaml")
	require.ErrorContains(t, load("production", map[string]string{"ours:domian": "x"}),
		"configuration of stack production: 1 problem\n  domian: unknown key; did you mean domain?")
}

// People read this message: review each change of the golden file.
func TestOneMessageHasAllProblems(t *testing.T) {
	here, err := os.Getwd()
	require.NoError(t, err)
	inProject(t)
	require.NoError(t,
		os.WriteFile("Pulumi.local.yaml", []byte("config:\n  immutable-infra:zoneId: Z0LOCALCLOUD00000001\n"), 0o644))
	require.NoError(t,
		os.WriteFile("Pulumi.test.yaml",
			[]byte("config:\n  immutable-infra:domain: test.our-site.org\n  immutable-infra:aliases: [www.our-site.org]\n"),
			0o644))
	require.NoError(t, os.WriteFile("Pulumi.old.yaml", []byte("config: [\n"), 0o644))
	values := map[string]string{
		"aws:region": "europe", "domain": "example.com",
		"aliases":       `["WWW.example.com", "shop.localcloud.test", "www.our-site.org"]`,
		"zoneId":        "Z0LOCALCLOUD00000001",
		"dnsRecords":    `[{"name": "example.com.", "type": "SPF", "ttl": -1}, {"name": "example.com", "type": "CNAME", "values": ["a.", "b."]}]`,
		"acmeDirectory": "https://acme-staging-v02.api.letsencrypt.org/directory", "acmeCA": ".localcloud/tls/acme.pem",
		"admins":  `[{"name": "root", "keys": ["./.localcloud/ssh/id_ed25519.pub", "AAAA"]}, {"name": "the admin"}]`,
		"sshPort": "443", "sshFromRunner": "github", "sshAllowFrom": `["192.0.2.7/24", "198.18.0.1/32", "home"]`,
		"ami": "ami-0123456789abcdef0", "instanceType": "t4g.micro", "rootVolumeSize": "20 GB", "generation": "-1",
		"provisioningTimeout": "90", "vpcCidr": "192.0.2.0/24", "serverBoundary": "server",
		"siteDir": "blog", "buildCommand": `["make"]`, "jekyllEnv": "", "releasesKept": "0",
		"metricsRetention": "90", "victorOpsKey": "alerts", "victorOpsRouting": "a/b",
		"heartbeatURL": "http://hc.internal/ping", "grafanaGitHubId": "my app", "grafanaGitHubOrganizations": "ours",
		"uptimeRobotKey": "ur1234567-0123456789abcdef01234567", "uptimeRobotAPI": "http://localhost/v3",
		"uptimeRobotWebhook": "https://hook.internal/$routing_key", "uptimeRobotInterval": "5", "statusPage": "maybe",
		"hstsMaxAge": "-1", "hstsIncludeSubDomains": "no", "hstsPreload": "yes", "phpEgress": "perhaps",
		"smtpHost": "smtp.example.com:25", "smtpPort": "25", "smtpUser": "si\te", "smtpPassword": "",
		"smtpFrom": "The site <site@example.com>",
		"protect":  "yes", "backupInterval": "601", "backupRetention": "1", "backupVersionsKept": "1000",
		"backupVersionDays": "0",
		"bakeTime":          "2m", "bakeFailedVisits": "0", "bakeErrorPercent": "101", "bakeLatencyFactor": "0",
		"bakeFreePercent": "60", "bakeRestarts": "-1", "bakePatience": "1",
		"instancetype": "", "colour": "",
	}
	_, err = parse(source{
		stack:     "production",
		project:   "immutable-infra",
		directory: ".",
		encrypted: func(string) bool { return false },
	}, values)
	var problems Problems
	require.True(t, errors.As(err, &problems))
	for _, key := range Keys() {
		if key == "grafana" {
			// This value is valid: t4g.micro is invalid because of it.
			continue
		}
		about := slices.ContainsFunc(problems,
			func(p Problem) bool { return p.Key == key || strings.HasPrefix(p.Key, key+"[") })
		require.True(t, about, "nothing is wrong with %s", key)
	}
	require.True(t, slices.IsSortedFunc(problems, func(a, b Problem) int { return strings.Compare(a.Key, b.Key) }))
	t.Chdir(here)
	golden.Equal(t, "everything-wrong.txt", fmt.Errorf("configuration of stack production: %w", err).Error()+"\n")
}
