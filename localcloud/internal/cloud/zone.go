package cloud

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"immutable-infra/localcloud/internal/home"
	"immutable-infra/localcloud/internal/hostnet"
	"immutable-infra/localcloud/internal/names"
)

const (
	// ZoneID is the id of the one hosted zone that exists, and ZoneName its name.
	ZoneID   = "Z0LOCALCLOUD00000001"
	ZoneName = "localcloud.test"

	// VictorOpsName is where VictorOps takes alerts.
	VictorOpsName = "alert.victorops.com"

	nameServerName = "ns." + ZoneName
	acmeName       = "acme." + ZoneName

	// ownTTL is the time to live of localcloud's own records, in seconds.
	ownTTL  = 60
	dnsPort = 53

	dnsContainer = network + "-dns"
	zoneFile     = "zone.json"
	// zoneDir is the directory of the zone's file in the name server's container.
	zoneDir = "/zone"
)

// OwnRecords are the record sets that localcloud itself has in the zone. On
// AWS, these servers have names elsewhere.
func OwnRecords() []names.Record {
	return []names.Record{
		{Name: nameServerName, Type: "A", TTL: ownTTL, Values: []string{dnsAddress().String()}},
		{Name: acmeName, Type: "A", TTL: ownTTL, Values: []string{acmeAddress().String()}},
		{Name: uptimeRobotName, Type: "A", TTL: ownTTL, Values: []string{uptimeRobotAddress().String()}},
	}
}

// IsOwnName says whether a name in the zone is one of localcloud's own.
func IsOwnName(name string) bool {
	return slices.ContainsFunc(OwnRecords(), func(own names.Record) bool { return own.Name == name })
}

// ApplyRecords implements Cloud.
func (l *Local) ApplyRecords(_ context.Context, records []names.Record) error {
	unlock, err := l.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return l.applyRecords(records)
}

// applyRecords needs the lock.
func (l *Local) applyRecords(records []names.Record) error {
	zone := hostedZone(records)
	table, err := names.NewTable(zone, 0)
	if err != nil {
		return fmt.Errorf("apply records: %w", err)
	}
	if err := os.MkdirAll(l.zoneDir(), 0o700); err != nil {
		return fmt.Errorf("apply records: %w", err)
	}
	if err := home.WriteJSON(filepath.Join(l.zoneDir(), zoneFile), zone); err != nil {
		return err
	}
	hosts := slices.DeleteFunc(table.Hosts(), func(host names.Host) bool { return host.Name == nameServerName })
	return hostnet.New(l.home, l.runner).WriteNames(hosts)
}

// hostedZone is the zone with the given record sets and localcloud's own.
func hostedZone(records []names.Record) names.Zone {
	return names.Zone{Name: ZoneName, Server: nameServerName, Records: slices.Concat(OwnRecords(), records)}
}

// StartDNS starts the zone's name server, waits until it answers, and makes the
// zone's names known on this machine.
func (l *Local) StartDNS(ctx context.Context) error {
	if err := l.reapplyRecords(); err != nil {
		return err
	}
	return l.startService(ctx, service{
		name: dnsContainer, role: roleDNS, address: dnsAddress(), port: dnsPort,
		mounts: []string{
			l.home.Executable() + ":" + program + ":ro",
			l.zoneDir() + ":" + zoneDir + ":ro",
		},
		command: []string{program, "dns", "-zone", zoneDir + "/" + zoneFile,
			"-listen", net.JoinHostPort(dnsAddress().String(), strconv.Itoa(dnsPort))},
	})
}

// reapplyRecords applies the records that were applied last: this machine may
// have been restarted since, or another localcloud may have written them.
func (l *Local) reapplyRecords() error {
	unlock, err := l.lock()
	if err != nil {
		return err
	}
	defer unlock()
	var zone names.Zone
	if err := home.ReadJSON(filepath.Join(l.zoneDir(), zoneFile), &zone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("records: %w", err)
	}
	return l.applyRecords(slices.DeleteFunc(zone.Records, func(record names.Record) bool { return IsOwnName(record.Name) }))
}

func (l *Local) zoneDir() string { return filepath.Join(l.home.Cloud(), "zone") }
