package commandplugin

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/pulumi/pulumi-go-provider/infer"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// Connection says how to reach a host over SSH, directly or through a bastion
// host.
type Connection struct {
	SSHHost
	Proxy *ProxyConnection `pulumi:"proxy,optional"`
}

// ProxyConnection says how to reach a bastion host.
type ProxyConnection struct{ SSHHost }

// SSHHost says how to reach one SSH server and how to log in there.
type SSHHost struct {
	Host string `pulumi:"host"`
	// Port is a number without fraction, 22 by default.
	Port *float64 `pulumi:"port,optional"`
	// User is root by default.
	User     *string `pulumi:"user,optional"`
	Password *string `pulumi:"password,optional" provider:"secret"`
	// PrivateKey is tried before Password.
	PrivateKey         *string `pulumi:"privateKey,optional" provider:"secret"`
	PrivateKeyPassword *string `pulumi:"privateKeyPassword,optional" provider:"secret"`
	// AgentSocketPath is that of an SSH agent, SSH_AUTH_SOCK by default.
	AgentSocketPath *string `pulumi:"agentSocketPath,optional"`
	// HostKey is a line of authorized_keys format: the only key that is
	// accepted of the host. Where it is unset, any key is.
	HostKey *string `pulumi:"hostKey,optional"`
	// DialErrorLimit is how many attempts may fail and be repeated, 10 by
	// default; -1 is any number.
	DialErrorLimit *int `pulumi:"dialErrorLimit,optional"`
	// PerDialTimeout bounds the TCP connect of one attempt, in seconds, 15 by
	// default; 0 does not bound it.
	PerDialTimeout *int `pulumi:"perDialTimeout,optional"`
}

const (
	defaultUser           = "root"
	defaultPort           = 22
	defaultDialErrorLimit = 10
	unlimitedDialErrors   = -1
	defaultPerDialTimeout = 15 // seconds
)

// Annotate sets the defaults.
func (c *Connection) Annotate(a infer.Annotator) { c.annotate(a) }

// Annotate sets the defaults.
func (c *ProxyConnection) Annotate(a infer.Annotator) { c.annotate(a) }

func (h *SSHHost) annotate(a infer.Annotator) {
	a.SetDefault(&h.User, defaultUser)
	a.SetDefault(&h.Port, defaultPort)
	a.SetDefault(&h.DialErrorLimit, defaultDialErrorLimit)
	a.SetDefault(&h.PerDialTimeout, defaultPerDialTimeout)
}

// address is host:port.
func (h SSHHost) address() string {
	return net.JoinHostPort(h.Host, strconv.Itoa(int(*h.Port)))
}

func (h SSHHost) dialErrorLimit() int {
	if h.DialErrorLimit == nil {
		return defaultDialErrorLimit
	}
	return *h.DialErrorLimit
}

// clientConfig is the SSH client's side of one attempt. The connection to the
// SSH agent, if there is one, stays open until the plugin ends.
func (h SSHHost) clientConfig() (*ssh.ClientConfig, error) {
	config := &ssh.ClientConfig{User: *h.User, Timeout: time.Duration(*h.PerDialTimeout) * time.Second}
	if err := h.pinHostKey(config); err != nil {
		return nil, err
	}
	if h.PrivateKey != nil {
		signer, err := h.signer()
		if err != nil {
			return nil, err
		}
		config.Auth = append(config.Auth, ssh.PublicKeys(signer))
	}
	if h.Password != nil {
		config.Auth = append(config.Auth, ssh.Password(*h.Password), ssh.KeyboardInteractive(h.answer))
	}

	socket := os.Getenv("SSH_AUTH_SOCK")
	if h.AgentSocketPath != nil {
		socket = *h.AgentSocketPath
	} else if socket == "" {
		return config, nil
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("reach the SSH agent: %w", err)
	}
	config.Auth = append(config.Auth, ssh.PublicKeysCallback(agent.NewClient(conn).Signers))
	return config, nil
}

// pinHostKey makes config accept the one host key, and asks the server for a
// key of its algorithm. For an RSA key that algorithm is ssh-rsa, with SHA-1,
// as in the real plugin: servers of today refuse it.
func (h SSHHost) pinHostKey(config *ssh.ClientConfig) error {
	if h.HostKey == nil {
		config.HostKeyCallback = ssh.InsecureIgnoreHostKey()
		return nil
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(*h.HostKey))
	if err != nil {
		return fmt.Errorf("failed to parse host key: %w", err)
	}
	config.HostKeyCallback = ssh.FixedHostKey(key)
	config.HostKeyAlgorithms = []string{key.Type()}
	return nil
}

func (h SSHHost) signer() (ssh.Signer, error) {
	if h.PrivateKeyPassword != nil {
		return ssh.ParsePrivateKeyWithPassphrase([]byte(*h.PrivateKey), []byte(*h.PrivateKeyPassword))
	}
	return ssh.ParsePrivateKey([]byte(*h.PrivateKey))
}

// answer gives the password to whatever the server asks.
func (h SSHHost) answer(_, _ string, questions []string, _ []bool) ([]string, error) {
	answers := make([]string, len(questions))
	for i := range answers {
		answers[i] = *h.Password
	}
	return answers, nil
}
