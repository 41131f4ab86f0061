package cmd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"immutable-infra/localcloud/internal/awsapi"
	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/dns"
	"immutable-infra/localcloud/internal/gateway"
	"immutable-infra/localcloud/internal/https"
	"immutable-infra/localcloud/internal/plugin/awsplugin"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
	"immutable-infra/localcloud/internal/run"
	"immutable-infra/localcloud/internal/state"
	"immutable-infra/localcloud/internal/uptimerobot"
	"immutable-infra/localcloud/internal/victorops"
	"immutable-infra/localcloud/offline"
	"immutable-infra/localcloud/offline/registry"
)

// upstreamDialTimeout limits the time to connect to the real container registry.
const upstreamDialTimeout = 3 * time.Second

func gatewayVerb(ctx context.Context, args []string) error {
	verbs := map[string]func(context.Context) error{
		"run":   func(ctx context.Context) error { return gateway.Run(ctx, run.Exec{}) },
		"apply": func(ctx context.Context) error { return gateway.Apply(ctx, run.Exec{}) },
		"ready": gateway.Ready,
	}
	if len(args) != 1 || verbs[args[0]] == nil {
		return fmt.Errorf("gateway %v: write one of run, apply, ready", args)
	}
	return verbs[args[0]](ctx)
}

// serve returns the verb of a service that localcloud implements: it creates the handler and serves it over HTTPS
// on port 443.
func serve(role string, handler func(context.Context) (http.Handler, error)) verb {
	return func(ctx context.Context, _ []string) error {
		h, err := handler(ctx)
		if err == nil {
			var listener net.Listener
			if listener, err = net.Listen("tcp", ":443"); err == nil {
				err = https.Serve(ctx, h, listener, cloud.Certificate(role), cloud.CertificateKey(role))
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", role, err)
		}
		return nil
	}
}

// requireEnv returns the value of an environment variable, or an error if it is empty.
func requireEnv(variable string) (string, error) {
	if value := os.Getenv(variable); value != "" {
		return value, nil
	}
	return "", errors.New(variable + " is empty: set it to the key of the account")
}

func awsAPI(context.Context) (http.Handler, error) {
	key, err := requireEnv(cloud.RootKeyVariable)
	secret, secretErr := requireEnv(cloud.RootSecretVariable)
	if err := errors.Join(err, secretErr); err != nil {
		return nil, err
	}
	home := os.Getenv(state.Variable)
	return awsapi.New(awsapi.Settings{
		Region: cloud.Region, Root: store.Account{AccessKeyID: key, SecretAccessKey: secret},
		State: store.Open(state.Home(home).AWSFile()).Read, KeyFile: filepath.Join(cloud.DataDir, "keys.json"), Now: time.Now,
		EC2: func(ctx context.Context, as store.Account, form url.Values) (any, error) {
			return awsplugin.EC2(ctx, home, cloud.Region, as, form)
		},
	})
}

func victorOps(context.Context) (http.Handler, error) {
	key, err := requireEnv(cloud.VictorOpsKeyVariable)
	return victorops.New(key), err
}

func containerRegistry(ctx context.Context) (http.Handler, error) {
	upstream := http.DefaultTransport.(*http.Transport).Clone()
	upstream.DialContext = (&net.Dialer{Timeout: upstreamDialTimeout}).DialContext
	images := registry.Images(cloud.BaseLayer, cloud.TraefikLayer)
	return registry.NewHandler(ctx, images, offline.NewNetwork().Pin, upstream)
}

func dnsVerb(ctx context.Context, _ []string) error {
	address := cloud.NameServer().String()
	stream, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("name server: %w", err)
	}
	packets, err := net.ListenPacket("udp", address)
	if err != nil {
		return fmt.Errorf("name server: %w", errors.Join(err, stream.Close()))
	}
	return dns.Serve(ctx, dns.NewHandler(filepath.Join(cloud.DataDir, cloud.ZoneFile)), stream, packets)
}

// The limits of UptimeRobot's API.
const (
	listPageSize      = 50  // objects per page
	requestsPerMinute = 100 // on a paid plan
)

// uptimeRobot returns the UptimeRobot double. Its monitors run until ctx ends.
func uptimeRobot(ctx context.Context) (http.Handler, error) {
	key, err := requireEnv(cloud.UptimeRobotKeyVariable)
	if err != nil {
		return nil, err
	}
	client, err := localOnlyClient(filepath.Join(cloud.DataDir, "roots.pem"), cloud.NameServer().String(),
		map[string]string{cloud.VictorOpsName: cloud.VictorOpsAddress().String()})
	if err != nil {
		return nil, err
	}
	server, err := uptimerobot.New(uptimerobot.Settings{
		Key: key, Heartbeat: os.Getenv(cloud.UptimeRobotHeartbeatVariable), RequestsPerMinute: requestsPerMinute,
		PageSize: listPageSize, Client: client, File: filepath.Join(cloud.DataDir, "account.json"),
		Second: time.Second, Log: func(message string) { log.Print(message) },
	})
	if err != nil {
		return nil, err
	}
	go server.Run(ctx)
	return server, nil
}

// localOnlyClient returns an HTTP client that resolves names only through hosts and nameserver, so that no request
// leaves the local cloud.
func localOnlyClient(rootsFile, nameserver string, hosts map[string]string) (*http.Client, error) {
	roots, err := os.ReadFile(rootsFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(roots) {
		return nil, fmt.Errorf("no certificate in %s", rootsFile)
	}
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, nameserver)
	}}
	dialer := &net.Dialer{Resolver: resolver}
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
		// Each check needs a new connection, because it may reach a different server than the previous one.
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			name, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			if known, ok := hosts[name]; ok {
				address = net.JoinHostPort(known, port)
			}
			return dialer.DialContext(ctx, network, address)
		},
	}}, nil
}
