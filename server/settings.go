package server

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// Settings configure a server, together with its Secrets. Package stack reads them from
// Pulumi.<stack>.yaml, where each has the key of its tag "config". The tag "default" is the value
// of a setting that is not set, "range" the lowest and the highest value of a number.
type Settings struct {
	// Region is the AWS region.
	Region string

	// Domain is the site's name, without a scheme: example.org.
	Domain string `config:"domain"`
	// Aliases are further names of the site, which redirect to Domain.
	Aliases []string `config:"aliases"`

	// ACMEDirectory is the URL of the directory (RFC 8555) of the certificate authority.
	ACMEDirectory string `config:"acmeDirectory" default:"https://acme-v02.api.letsencrypt.org/directory"`
	// ACMEEmail is the contact of the account at the authority. Traefik finds its account by the address, and
	// without one registers another account at each start.
	ACMEEmail string `config:"acmeEmail"`
	// ACMERoots are the authority's root certificates in PEM; "" if every system trusts them.
	ACMERoots string

	// Admins may log in to every server and become root.
	Admins []Admin `config:"admins"`
	// SSHPort is the port of the SSH daemon.
	SSHPort int `config:"sshPort" default:"12222" range:"1 65535"`
	// SSHAllowFrom are the CIDR blocks that reach the SSH port.
	SSHAllowFrom []string `config:"sshAllowFrom"`

	// InstanceType is the EC2 instance type. Its family decides the architecture.
	InstanceType string `config:"instanceType" default:"t4g.small"`
	// RootVolumeSize is in GiB.
	RootVolumeSize int `config:"rootVolumeSize" default:"20" range:"8 16384"`
	// Generation forces a new server when it changes.
	Generation int `config:"generation" default:"1" range:"0 2147483647"`
	// ProvisioningTimeout is how many minutes a server has to boot, and again how many to become ready.
	ProvisioningTimeout int `config:"provisioningTimeout" default:"15" range:"1 25"`

	// PHPEgress lets the scripts of the site connect to other hosts. They send mail without it, too.
	PHPEgress bool `config:"phpEgress"`
	// ReleasesKept is how many releases a server keeps beside the current one.
	ReleasesKept int `config:"releasesKept" default:"3" range:"1 100"`

	// HSTSMaxAge is for how many seconds browsers request the site by HTTPS only. 0 makes them forget it.
	HSTSMaxAge int `config:"hstsMaxAge" default:"31536000" range:"0 315360000"`
	// HSTSIncludeSubDomains extends HSTS to every name below the site's.
	HSTSIncludeSubDomains bool `config:"hstsIncludeSubDomains"`
	// HSTSPreload asks browser vendors to ship HSTS for the site with their browsers.
	HSTSPreload bool `config:"hstsPreload"`

	// SMTPHost is the relay of PHP's mail(); without one, mail() fails.
	SMTPHost string `config:"smtpHost"`
	// SMTPPort is the relay's port. At SubmissionsPort TLS begins with the connection, elsewhere with STARTTLS.
	SMTPPort int `config:"smtpPort" default:"587" range:"1 65535"`
	// SMTPUser logs in to the relay; "" does not log in.
	SMTPUser string `config:"smtpUser"`
	// SMTPFrom is the envelope sender of every message.
	SMTPFrom string `config:"smtpFrom"`

	// MetricsRetention is for how long Prometheus keeps its samples, in its own form: 90d.
	MetricsRetention string `config:"metricsRetention" default:"90d"`
	// VictorOpsRouting is the routing key of alerts.
	VictorOpsRouting string `config:"victorOpsRouting" default:"default"`
	// Grafana runs Grafana at monitoring.<Domain>.
	Grafana bool `config:"grafana" default:"true"`
	// GrafanaGitHubID is the client id of the GitHub OAuth app for logins to Grafana; "" allows none.
	GrafanaGitHubID string `config:"grafanaGitHubId"`
	// GrafanaGitHubOrganizations are the GitHub organizations whose members may log in to Grafana.
	GrafanaGitHubOrganizations []string `config:"grafanaGitHubOrganizations"`

	// BackupInterval is how many seconds pass between two backups: a crash can lose the data of
	// this time. An alert fires for a backup that is 15 minutes old.
	BackupInterval int `config:"backupInterval" default:"60" range:"15 600"`
	// BackupRetention is for how many hours a backup can be restored.
	BackupRetention int `config:"backupRetention" default:"24" range:"2 8760"`
}

// Secrets are the settings of a server that are encrypted wherever they are stored. Each is optional.
type Secrets struct {
	// VictorOpsKey is the key of the REST integration of VictorOps (Splunk On-Call) that receives alerts.
	VictorOpsKey string `config:"victorOpsKey"`
	// HeartbeatURL is the URL of a heartbeat monitor, to which Alertmanager on the active server
	// posts each minute as long as alerts work.
	HeartbeatURL string `config:"heartbeatURL"`
	// GrafanaGitHubSecret is the client secret of the OAuth app GrafanaGitHubID.
	GrafanaGitHubSecret string `config:"grafanaGitHubSecret"`
	// SMTPPassword is the password of SMTPUser.
	SMTPPassword string `config:"smtpPassword"`
}

// Admin is a person with a login on every server.
type Admin struct {
	// Name is the login name.
	Name string `json:"name"`
	// Keys are authorized_keys lines. Package stack also accepts paths of files with such lines.
	Keys []string `json:"keys"`
}

// Defaults returns the settings of a server that sets nothing.
func Defaults() Settings {
	var settings Settings
	SetDefaults(&settings)
	return settings
}

// SetDefaults sets the fields of a struct to the values of their tags "default", and lists to empty ones. It
// panics if a tag and the type of its field do not match.
func SetDefaults(settings any) {
	target := reflect.ValueOf(settings).Elem()
	for _, field := range reflect.VisibleFields(target.Type()) {
		value, text := target.FieldByIndex(field.Index), field.Tag.Get("default")
		var err error
		switch {
		case field.Tag.Get("config") == "":
		case value.Kind() == reflect.Slice:
			value.Set(reflect.MakeSlice(field.Type, 0, 0))
		case text == "":
		case value.Kind() == reflect.String:
			value.SetString(text)
		case value.Kind() == reflect.Int:
			var number int64
			number, err = strconv.ParseInt(text, 10, 0)
			value.SetInt(number)
		default:
			var yes bool
			yes, err = strconv.ParseBool(text)
			value.SetBool(yes)
		}
		if err != nil {
			panic(fmt.Sprintf("cannot set the default of %s: %v", field.Name, err))
		}
	}
}

// Names are all names of the site that need a certificate: Domain, which is the first, Aliases, and the name of
// Grafana where it runs.
func (s *Settings) Names() []string {
	names := append([]string{s.Domain}, s.Aliases...)
	if s.Grafana {
		names = append(names, "monitoring."+s.Domain)
	}
	return names
}

// HSTS is the value of the header Strict-Transport-Security (RFC 6797).
func (s *Settings) HSTS() string {
	value := fmt.Sprintf("max-age=%d", s.HSTSMaxAge)
	if s.HSTSIncludeSubDomains {
		value += "; includeSubDomains"
	}
	if s.HSTSPreload {
		value += "; preload"
	}
	return value
}

// graviton matches the instance families of AWS's ARM processors: a letter or two, the generation, then a "g"
// among the attributes (t4g, m7gd, c6gn).
var graviton = regexp.MustCompile(`^[a-z]+\d+g[a-z]*\.|^a1\.`)

// Architecture is the instance type's architecture in Go's and Debian's words: "arm64" or "amd64".
func (s *Settings) Architecture() string {
	if graviton.MatchString(s.InstanceType) {
		return "arm64"
	}
	return "amd64"
}

// profiles are the profiles of the Compose project that run.
func (s *Settings) profiles() string {
	var profiles []string
	if s.Grafana {
		profiles = append(profiles, "grafana")
	}
	if s.SMTPHost != "" {
		profiles = append(profiles, "mail")
	}
	return strings.Join(profiles, ",")
}
