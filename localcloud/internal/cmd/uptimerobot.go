package cmd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/uptimerobot"
)

// listPageSize is how many things a page of a list has, as UptimeRobot's.
const listPageSize = 50

// uptimeRobot is the UptimeRobot double, whose monitors work until ctx ends.
func uptimeRobot(ctx context.Context) (http.Handler, error) {
	key, err := required(cloud.UptimeRobotKeyVariable)
	if err != nil {
		return nil, err
	}
	client, err := outwardClient(filepath.Join(cloud.DataDir, "roots.pem"), cloud.NameServer().String(),
		map[string]string{cloud.VictorOpsName: cloud.VictorOpsAddress().String()})
	if err != nil {
		return nil, err
	}
	server, err := uptimerobot.New(uptimerobot.Settings{
		Key: key, Heartbeat: os.Getenv(cloud.UptimeRobotHeartbeatVariable), Plan: uptimerobot.Paid(),
		PageSize: listPageSize, Client: client, File: filepath.Join(cloud.DataDir, "account.json"),
		Second: time.Second, Log: func(message string) { log.Print(message) },
	})
	if err != nil {
		return nil, err
	}
	go server.Run(ctx)
	return server, nil
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
