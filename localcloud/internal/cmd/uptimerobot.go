package cmd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/https"
	"immutable-infra/localcloud/internal/uptimerobot"
)

// listPageSize is how many things a page of a list has, as UptimeRobot's.
const listPageSize = 50

// uptimeRobotVerb is what runs in the container of the UptimeRobot double.
func uptimeRobotVerb(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("uptimerobot", flag.ContinueOnError)
	certificate := flags.String("certificate", "", "certificate file, PEM")
	key := flags.String("key", "", "key file, PEM")
	account := flags.String("account", "", "file that keeps the account, JSON")
	roots := flags.String("roots", "", "file with the authorities of the pages and web-hooks, PEM")
	nameserver := flags.String("nameserver", "", "address and port of the name server to ask")
	hosts := map[string]string{}
	flags.Func("host", "name=address of a host that the name server does not know", func(value string) error {
		name, address, ok := strings.Cut(value, "=")
		if !ok || net.ParseIP(address) == nil {
			return errors.New("write name=address")
		}
		hosts[name] = address
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	apiKey := os.Getenv(cloud.UptimeRobotKeyVariable)
	if apiKey == "" {
		return errors.New("uptimerobot: " + cloud.UptimeRobotKeyVariable + " is empty: set it to the API key of the account")
	}
	client, err := outwardClient(*roots, *nameserver, hosts)
	if err != nil {
		return fmt.Errorf("uptimerobot: %w", err)
	}
	server, err := uptimerobot.New(uptimerobot.Settings{
		Key: apiKey, Heartbeat: os.Getenv(cloud.UptimeRobotHeartbeatVariable), Plan: uptimerobot.Paid(),
		PageSize: listPageSize, Client: client, File: *account,
		Second: time.Second, Log: func(told string) { log.Print(told) },
	})
	if err != nil {
		return fmt.Errorf("uptimerobot: %w", err)
	}
	listener, err := net.Listen("tcp", ":443")
	if err != nil {
		return fmt.Errorf("uptimerobot: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { server.Run(ctx); close(ended) }()
	err = https.Serve(ctx, server, listener, *certificate, *key)
	cancel()
	<-ended
	if err != nil {
		return fmt.Errorf("uptimerobot: %w", err)
	}
	return nil
}

// outwardClient makes requests to what the name server and the hosts know, and to
// nothing else: no name leads out of the local cloud.
func outwardClient(rootsFile, nameserver string, hosts map[string]string) (*http.Client, error) {
	roots, err := os.ReadFile(rootsFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(roots) {
		return nil, fmt.Errorf("there is no certificate in %s", rootsFile)
	}
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, nameserver)
	}}
	dialer := &net.Dialer{Resolver: resolver}
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
		// Each check is a visitor of its own, who may meet another server than the last.
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
