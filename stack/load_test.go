package stack

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// publicKey is an authorized_keys line.
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

// valid is the least that a stack has to set.
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

func TestTheLeastThatAStackHasToSetIsCompletedByDefaults(t *testing.T) {
	inProject(t)
	config, err := Parse(valid(t))
	require.NoError(t, err)

	expected := Defaults()
	expected.Region = "eu-central-1"
	expected.Domain = "example.org"
	expected.ACMEEmail = "admin@example.org"
	expected.Admins = []Admin{{Name: "admin", Keys: []string{publicKey(t)}}}
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
		require.Equal(t, architecture, (&Config{InstanceType: instanceType}).Architecture(), instanceType)
	}
}

func TestASecretInPlainTextIsRefused(t *testing.T) {
	values := map[string]string{"victorOpsKey": "01234567-89ab-cdef-0123-456789abcdef", "grafanaGitHubSecret": ""}
	require.Empty(t, plainSecrets(values, func(string) bool { return true }))
	problems := plainSecrets(values, func(string) bool { return false })
	require.Len(t, problems, 1)
	require.Equal(t, "victorOpsKey", problems[0].Key)
	require.Contains(t, problems[0].Reason, "pulumi config set --secret victorOpsKey")
	require.NotContains(t, problems.Error(), "cdef")
}

func TestTheWebHookOfUptimeRobotEndsAsThatWantsIt(t *testing.T) {
	inProject(t)
	for _, written := range []string{"https://alert.victorops.com/a/b/site", "https://alert.victorops.com/a/b/site?"} {
		values := valid(t)
		values["uptimeRobotKey"], values["uptimeRobotWebhook"] = "u1234567-0123456789abcdef01234567", written
		config, err := Parse(values)
		require.NoError(t, err)
		require.Equal(t, "https://alert.victorops.com/a/b/site?", config.UptimeRobotWebhook)
		require.Equal(t, "status.example.org", config.StatusPageName())
		config.StatusPage = false
		require.Empty(t, config.StatusPageName())
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

// certificate is one that signed itself, in PEM.
func certificate(t *testing.T) []byte {
	t.Helper()
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// Each case changes a valid configuration; the error names these keys, with
// these words, and no other key.
func TestEveryProblemIsNamedInOneError(t *testing.T) {
	inProject(t)
	require.NoError(t, os.WriteFile("private", []byte("-----BEGIN OPENSSH PRIVATE KEY-----\n"), 0o600))
	require.NoError(t, os.WriteFile("empty.pub", []byte("# nothing\n"), 0o600))
	require.NoError(t, os.WriteFile("key.pem", []byte("-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"), 0o600))
	key := publicKey(t)

	for name, test := range map[string]struct {
		change map[string]string
		remove []string
		errors map[string]string
	}{
		"nothing is set": {
			remove: []string{"aws:region", "domain", "admins", "sshAllowFrom", "ami", "acmeEmail"},
			errors: map[string]string{
				"aws:region": "eu-central-1", "domain": "pulumi config set domain example.org", "admins": "pulumi config set --path 'admins[0].name' admin",
				"sshAllowFrom": "192.0.2.7/32", "ami": "136693071363", "acmeEmail": "pulumi config set acmeEmail",
			},
		},
		"a URL as the domain":           {change: map[string]string{"domain": "https://example.org/"}, errors: map[string]string{"domain": "without a scheme"}},
		"a domain in capitals":          {change: map[string]string{"domain": "Example.org"}, errors: map[string]string{"domain": "lower case"}},
		"a bare label as the domain":    {change: map[string]string{"domain": "localhost"}, errors: map[string]string{"domain": "host name"}},
		"an address as the domain":      {change: map[string]string{"domain": "192.0.2.1"}, errors: map[string]string{"domain": "host name"}},
		"aliases that are no list":      {change: map[string]string{"aliases": "www.example.org"}, errors: map[string]string{"aliases": "a list of strings"}},
		"an alias that is the domain":   {change: map[string]string{"aliases": `["www.example.org", "example.org"]`}, errors: map[string]string{"aliases[1]": "remove it"}},
		"an alias twice":                {change: map[string]string{"aliases": `["www.example.org", "www.example.org"]`}, errors: map[string]string{"aliases[1]": "remove it"}},
		"admins in another form":        {change: map[string]string{"admins": `{"admin": "key"}`}, errors: map[string]string{"admins": "a list such as"}},
		"a misspelt field of an admin":  {change: map[string]string{"admins": `[{"name": "admin", "key": "x"}]`}, errors: map[string]string{"admins": `unknown field "key"`}},
		"an admin called root":          {change: map[string]string{"admins": fmt.Sprintf(`[{"name": "root", "keys": [%q]}]`, key)}, errors: map[string]string{"admins[0].name": "taken"}},
		"the bootstrap user's name":     {change: map[string]string{"admins": fmt.Sprintf(`[{"name": "bootstrap", "keys": [%q]}]`, key)}, errors: map[string]string{"admins[0].name": "taken"}},
		"an admin's name with a space":  {change: map[string]string{"admins": fmt.Sprintf(`[{"name": "the admin", "keys": [%q]}]`, key)}, errors: map[string]string{"admins[0].name": "login name"}},
		"an admin twice":                {change: map[string]string{"admins": fmt.Sprintf(`[{"name": "a", "keys": [%q]}, {"name": "a", "keys": [%q]}]`, key, key)}, errors: map[string]string{"admins[1].name": "twice"}},
		"an admin without keys":         {change: map[string]string{"admins": `[{"name": "admin", "keys": []}]`}, errors: map[string]string{"admins[0].keys": "no key"}},
		"a key that is none":            {change: map[string]string{"admins": `[{"name": "admin", "keys": ["AAAA"]}]`}, errors: map[string]string{"admins[0].keys[0]": "authorized_keys line"}},
		"a key file that is missing":    {change: map[string]string{"admins": `[{"name": "admin", "keys": ["./missing.pub"]}]`}, errors: map[string]string{"admins[0].keys[0]": "cannot read the key file ./missing.pub"}},
		"a private key":                 {change: map[string]string{"admins": `[{"name": "admin", "keys": ["./private"]}]`}, errors: map[string]string{"admins[0].keys[0]": "private key"}},
		"a key file without a key":      {change: map[string]string{"admins": `[{"name": "admin", "keys": ["./empty.pub"]}]`}, errors: map[string]string{"admins[0].keys[0]": "holds no key"}},
		"an SSH port in words":          {change: map[string]string{"sshPort": "twenty-two"}, errors: map[string]string{"sshPort": "not a whole number"}},
		"an SSH port out of range":      {change: map[string]string{"sshPort": "122222"}, errors: map[string]string{"sshPort": "from 1 to 65535"}},
		"the web's port for SSH":        {change: map[string]string{"sshPort": "443"}, errors: map[string]string{"sshPort": "web server"}},
		"an address, not a block":       {change: map[string]string{"sshAllowFrom": `["192.0.2.7"]`}, errors: map[string]string{"sshAllowFrom[0]": "CIDR block"}},
		"a block with host bits":        {change: map[string]string{"sshAllowFrom": `["192.0.2.7/24"]`}, errors: map[string]string{"sshAllowFrom[0]": "write 192.0.2.0/24"}},
		"an IPv6 block":                 {change: map[string]string{"sshAllowFrom": `["2001:db8::/32"]`}, errors: map[string]string{"sshAllowFrom[0]": "IPv4"}},
		"an AMI's name, not its id":     {change: map[string]string{"ami": "debian-13"}, errors: map[string]string{"ami": "not an AMI id"}},
		"an AMI by SSM parameter":       {change: map[string]string{"ami": "resolve:ssm:/aws/x"}, errors: map[string]string{"ami": "not an AMI id"}},
		"a size, not an instance type":  {change: map[string]string{"instanceType": "micro"}, errors: map[string]string{"instanceType": "t4g.micro"}},
		"a root volume too small":       {change: map[string]string{"rootVolumeSize": "4"}, errors: map[string]string{"rootVolumeSize": "from 8"}},
		"a negative generation":         {change: map[string]string{"generation": "-1"}, errors: map[string]string{"generation": "from 0"}},
		"longer than bootstrap's login": {change: map[string]string{"provisioningTimeout": "90"}, errors: map[string]string{"provisioningTimeout": "to 25"}},
		"a public VPC range":            {change: map[string]string{"vpcCidr": "198.51.0.0/16"}, errors: map[string]string{"vpcCidr": "private"}},
		"a VPC that is too small":       {change: map[string]string{"vpcCidr": "10.42.0.0/28"}, errors: map[string]string{"vpcCidr": "/16 and /24"}},
		"a site that is not there":      {change: map[string]string{"siteDir": "blog"}, errors: map[string]string{"siteDir": `no directory "blog"`}},
		"an empty JEKYLL_ENV":           {change: map[string]string{"jekyllEnv": ""}, errors: map[string]string{"jekyllEnv": "production or development"}},
		"a truth value in words":        {change: map[string]string{"protect": "yes"}, errors: map[string]string{"protect": "neither true nor false"}},
		"no releases kept":              {change: map[string]string{"releasesKept": "0"}, errors: map[string]string{"releasesKept": "from 1"}},
		"too many versions for S3":      {change: map[string]string{"backupVersionsKept": "1000"}, errors: map[string]string{"backupVersionsKept": "to 100"}},
		"a region that is none":         {change: map[string]string{"aws:region": "europe"}, errors: map[string]string{"aws:region": "eu-central-1"}},
		"Grafana on a small server":     {change: map[string]string{"instanceType": "t4g.micro"}, errors: map[string]string{"instanceType": "write t4g.small, or do without: pulumi config set grafana false"}},
		"backups too far apart":         {change: map[string]string{"backupInterval": "601"}, errors: map[string]string{"backupInterval": "from 15 to 600"}},
		"a misspelt key":                {change: map[string]string{"instancetype": "t3.micro"}, errors: map[string]string{"instancetype": "did you mean instanceType?"}},
		"a key that nobody knows":       {change: map[string]string{"frobnicate": "1"}, errors: map[string]string{"frobnicate": "no such key"}},
		"a zone's name, not its id":     {change: map[string]string{"zoneId": "example.org"}, errors: map[string]string{"zoneId": "not the id of a hosted zone"}},
		"a record without a type":       {change: map[string]string{"dnsRecords": `[{"name": "example.org", "values": ["x"]}]`}, errors: map[string]string{"dnsRecords[0].type": "write one of A, AAAA, CAA"}},
		"a record's name with a dot":    {change: map[string]string{"dnsRecords": `[{"name": "example.org.", "type": "TXT", "values": ["x"]}]`}, errors: map[string]string{"dnsRecords[0].name": "without a dot at its end"}},
		"a record without values":       {change: map[string]string{"dnsRecords": `[{"name": "example.org", "type": "TXT"}]`}, errors: map[string]string{"dnsRecords[0].values": "has none"}},
		"a record with a TTL of a year": {change: map[string]string{"dnsRecords": `[{"name": "example.org", "type": "TXT", "ttl": 31536000, "values": ["x"]}]`}, errors: map[string]string{"dnsRecords[0].ttl": "from 1 to 604800"}},
		"a second address of the site":  {change: map[string]string{"dnsRecords": `[{"name": "monitoring.example.org", "type": "A", "values": ["192.0.2.1"]}]`}, errors: map[string]string{"dnsRecords[0].name": "the site's own names"}},
		"a record in two entries":       {change: map[string]string{"dnsRecords": `[{"name": "example.org", "type": "MX", "values": ["1 a."]}, {"name": "example.org", "type": "MX", "values": ["2 b."]}]`}, errors: map[string]string{"dnsRecords[1].name": "one entry"}},
		"a CNAME for the site":          {change: map[string]string{"dnsRecords": `[{"name": "example.org", "type": "CNAME", "values": ["elsewhere.example."]}]`}, errors: map[string]string{"dnsRecords[0].type": "cannot have a CNAME"}},
		"two CNAMEs for one name":       {change: map[string]string{"dnsRecords": `[{"name": "blog.example.org", "type": "CNAME", "values": ["a.example.", "b.example."]}]`}, errors: map[string]string{"dnsRecords[0].values": "one CNAME"}},
		"an ACME directory by HTTP":     {change: map[string]string{"acmeDirectory": "http://acme.example/dir"}, errors: map[string]string{"acmeDirectory": "https://acme-v02.api.letsencrypt.org/directory"}},
		"a name as e-mail address":      {change: map[string]string{"acmeEmail": "Admin <admin@example.org>"}, errors: map[string]string{"acmeEmail": "admin@example.org"}},
		"roots that are not there":      {change: map[string]string{"acmeCA": "missing.pem"}, errors: map[string]string{"acmeCA": "cannot read missing.pem"}},
		"a private key as roots":        {change: map[string]string{"acmeCA": "key.pem"}, errors: map[string]string{"acmeCA": "has a PRIVATE KEY in it"}},
		"roots without a certificate":   {change: map[string]string{"acmeCA": "empty.pub"}, errors: map[string]string{"acmeCA": "no certificate in empty.pub"}},
		"a retention without a unit":    {change: map[string]string{"metricsRetention": "90"}, errors: map[string]string{"metricsRetention": "90d"}},
		"a key that is no key":          {change: map[string]string{"victorOpsKey": "alerts"}, errors: map[string]string{"victorOpsKey": "pulumi config set --secret victorOpsKey"}},
		"a routing key with a slash":    {change: map[string]string{"victorOpsRouting": "a/b"}, errors: map[string]string{"victorOpsRouting": "not a routing key"}},
		"GitHub's id without a secret": {
			change: map[string]string{"grafanaGitHubId": "Iv1.0123"},
			errors: map[string]string{"grafanaGitHubSecret": "grafanaGitHubId", "grafanaGitHubOrganizations": "everybody"},
		},
		"a key that may only read":        {change: map[string]string{"uptimeRobotKey": "ur1234567-0123456789abcdef01234567"}, errors: map[string]string{"uptimeRobotKey": "may only read"}},
		"UptimeRobot's API by HTTP":       {change: map[string]string{"uptimeRobotAPI": "http://api.uptimerobot.com/v3"}, errors: map[string]string{"uptimeRobotAPI": "https://api.uptimerobot.com/v3"}},
		"looks in too quick a succession": {change: map[string]string{"uptimeRobotInterval": "5"}, errors: map[string]string{"uptimeRobotInterval": "from 30"}},
		"a web-hook without a key":        {change: map[string]string{"uptimeRobotWebhook": "https://alert.victorops.com/a/b/site?"}, errors: map[string]string{"uptimeRobotWebhook": "goes with uptimeRobotKey"}},
		"a web-hook as it was copied": {
			change: map[string]string{"uptimeRobotKey": "u1234567-0123456789abcdef01234567", "uptimeRobotWebhook": "https://alert.victorops.com/a/b/$routing_key"},
			errors: map[string]string{"uptimeRobotWebhook": "write a routing key of yours"},
		},
		"a web-hook that is a key": {
			change: map[string]string{"uptimeRobotKey": "u1234567-0123456789abcdef01234567", "uptimeRobotWebhook": "01234567-89ab-cdef-0123-456789abcdef"},
			errors: map[string]string{"uptimeRobotWebhook": "copy it from there"},
		},
		"a record beside the status page": {
			change: map[string]string{"uptimeRobotKey": "u1234567-0123456789abcdef01234567", "dnsRecords": `[{"name": "status.example.org", "type": "TXT", "values": ["a"]}]`},
			errors: map[string]string{"dnsRecords[0].name": "statusPage: false"},
		},
		"an organization with a space": {change: map[string]string{"grafanaGitHubOrganizations": `["my org"]`}, errors: map[string]string{"grafanaGitHubOrganizations[0]": "GitHub organization"}},
		"much at once": {
			change: map[string]string{"domain": "x", "sshPort": "0", "protect": "1", "ami": "ami-x", "sshAllowFrom": `["any"]`, "colour": "red"},
			errors: map[string]string{"domain": "", "sshPort": "", "protect": "", "ami": "", "sshAllowFrom[0]": "", "colour": ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			values := valid(t)
			maps.Copy(values, test.change)
			for _, key := range test.remove {
				delete(values, key)
			}
			config, err := Parse(values)
			require.Nil(t, config)

			var problems Problems
			require.True(t, errors.As(err, &problems), "%v", err)
			named := map[string]bool{}
			for _, problem := range problems {
				expected, ok := test.errors[problem.Key]
				require.True(t, ok, "%s is named, but nothing is wrong with it", problem.Key)
				require.Contains(t, problem.Reason, expected)
				require.Contains(t, err.Error(), problem.Key)
				named[problem.Key] = true
			}
			for key := range test.errors {
				require.True(t, named[key], "%s is not named in: %v", key, err)
			}
		})
	}
}
