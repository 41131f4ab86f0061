package server

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// Settings configures a server, together with Secrets. Package stack reads them from Pulumi.<stack>.yaml, under the
// keys in the tags "config". The tag "default" has the default value, "range" the lowest and the highest value of a
// number.
type Settings struct {
	// Region is the AWS region.
	Region string

	// Domain is the site's domain name: example.org.
	Domain string `config:"domain"`
	// Aliases are additional names of the site, which redirect to Domain.
	Aliases []string `config:"aliases"`

	// ACMEDirectory is the URL of the certificate authority's ACME directory (RFC 8555).
	ACMEDirectory string `config:"acmeDirectory" default:"https://acme-v02.api.letsencrypt.org/directory"`
	// ACMEEmail is the contact of the account at the authority. Traefik finds its account by this address; without one, it
	// would register another account at each start.
	ACMEEmail string `config:"acmeEmail"`
	// ACMERoots are the authority's root certificates in PEM; "" if every system trusts them.
	ACMERoots string

	// Admins may log in to every server and become root.
	Admins []Admin `config:"admins"`
	// SSHPort is the port of the SSH daemon.
	SSHPort int `config:"sshPort" default:"12222" range:"1 65535"`
	// SSHAllowFrom are the CIDR blocks that may reach the SSH port.
	SSHAllowFrom []string `config:"sshAllowFrom"`

	// InstanceType is the EC2 instance type. Its family determines the architecture.
	InstanceType string `config:"instanceType" default:"t4g.small"`
	// RootVolumeSize is in GiB.
	RootVolumeSize int `config:"rootVolumeSize" default:"20" range:"8 16384"`
	// Generation forces a new server when it changes.
	Generation int `config:"generation" default:"1" range:"0 2147483647"`
	// ProvisioningTimeout is how long a server may take to boot, and then to become ready, in minutes each.
	ProvisioningTimeout int `config:"provisioningTimeout" default:"15" range:"1 25"`

	// PHPEgress lets the site's PHP scripts connect to other hosts. They can send mail even without it.
	PHPEgress bool `config:"phpEgress"`
	// ReleasesKept is how many releases a server keeps in addition to the current one.
	ReleasesKept int `config:"releasesKept" default:"3" range:"1 100"`

	// HSTSMaxAge is how long browsers must use only HTTPS for the site, in seconds. 0 revokes an earlier value.
	HSTSMaxAge int `config:"hstsMaxAge" default:"31536000" range:"0 315360000"`
	// HSTSIncludeSubDomains extends HSTS to every name below the site's.
	HSTSIncludeSubDomains bool `config:"hstsIncludeSubDomains"`
	// HSTSPreload lets browser vendors add the site to their HSTS preload lists.
	HSTSPreload bool `config:"hstsPreload"`

	// SMTPHost is the relay for PHP's mail(); without one, mail() fails.
	SMTPHost string `config:"smtpHost"`
	// SMTPPort is the relay's port. SubmissionsPort has implicit TLS, all others use STARTTLS.
	SMTPPort int `config:"smtpPort" default:"587" range:"1 65535"`
	// SMTPUser is the user name for the relay; "" does not log in.
	SMTPUser string `config:"smtpUser"`
	// SMTPFrom is the envelope sender of every message.
	SMTPFrom string `config:"smtpFrom"`

	// MetricsRetention is how long Prometheus keeps samples, as a Prometheus duration: 90d.
	MetricsRetention string `config:"metricsRetention" default:"90d"`
	// VictorOpsRouting is the routing key of alerts.
	VictorOpsRouting string `config:"victorOpsRouting" default:"default"`
	// Grafana enables Grafana at monitoring.<Domain>.
	Grafana bool `config:"grafana" default:"true"`
	// GrafanaGitHubID is the client id of the GitHub OAuth app for logins to Grafana; "" allows none.
	GrafanaGitHubID string `config:"grafanaGitHubId"`
	// GrafanaGitHubOrganizations are the GitHub organizations whose members may log in to Grafana.
	GrafanaGitHubOrganizations []string `config:"grafanaGitHubOrganizations"`

	// BackupInterval is the time between two backups, in seconds: a crash can lose the data of this time. An alert fires
	// when the last backup is 15 minutes old.
	BackupInterval int `config:"backupInterval" default:"60" range:"15 600"`
	// BackupRetention is how long a backup can be restored, in hours.
	BackupRetention int `config:"backupRetention" default:"24" range:"2 8760"`
}

// Secrets has the settings of a server that are encrypted wherever they are stored. Each is optional.
type Secrets struct {
	// VictorOpsKey is the key of the REST integration of VictorOps (Splunk On-Call) that receives alerts.
	VictorOpsKey string `config:"victorOpsKey"`
	// HeartbeatURL is the URL of a heartbeat monitor, to which Alertmanager on the active server posts every minute as
	// long as alerting works.
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

// Defaults returns the default settings.
func Defaults() Settings {
	var settings Settings
	SetDefaults(&settings)
	return settings
}

// SetDefaults sets the fields of a struct to the values in their tags "default", and lists to empty lists. It panics if
// the value in a tag does not match the field's type.
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

// Names returns all names of the site that need a certificate: first Domain, then Aliases, and Grafana's name if it is
// enabled.
func (s *Settings) Names() []string {
	names := append([]string{s.Domain}, s.Aliases...)
	if s.Grafana {
		names = append(names, "monitoring."+s.Domain)
	}
	return names
}

// HSTS returns the value of the header Strict-Transport-Security (RFC 6797).
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

// graviton matches the instance families with AWS's ARM processors: one or more letters, the generation, and a "g" as
// the first attribute (t4g, m7gd, c6gn).
var graviton = regexp.MustCompile(`^[a-z]+\d+g[a-z]*\.|^a1\.`)

// Architecture returns the instance type's architecture by its name in Go and Debian: "arm64" or "amd64".
func (s *Settings) Architecture() string {
	if graviton.MatchString(s.InstanceType) {
		return "arm64"
	}
	return "amd64"
}

// profiles returns the enabled profiles of the Compose project, separated by commas.
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
