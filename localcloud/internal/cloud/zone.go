package cloud

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"immutable-infra/localcloud/internal/dns"
	"immutable-infra/localcloud/internal/hostnet"
	"immutable-infra/localcloud/internal/run"
	"immutable-infra/localcloud/internal/state"
)

const (
	ZoneID   = "Z0LOCALCLOUD00000001" // the only hosted zone
	ZoneName = "localcloud.test"
	ZoneFile = "zone.json" // the zone's file, in the name server's directory

	VictorOpsName = "alert.victorops.com" // the host of VictorOps' alert endpoint

	nameServerName  = "ns." + ZoneName
	acmeName        = "acme." + ZoneName
	uptimeRobotName = "uptimerobot." + ZoneName

	ownTTL  = 60 // the time to live of localcloud's own records, in seconds
	dnsPort = 53
)

// OwnRecords returns the zone's record sets for localcloud's own servers. On AWS, such servers are in other zones.
func OwnRecords() []dns.Record {
	return []dns.Record{
		{Name: nameServerName, Type: "A", TTL: ownTTL, Values: []string{DNSAddress().String()}},
		{Name: acmeName, Type: "A", TTL: ownTTL, Values: []string{acmeAddress().String()}},
		{Name: uptimeRobotName, Type: "A", TTL: ownTTL, Values: []string{uptimeRobotAddress().String()}},
	}
}

// IsOwnName reports whether a name belongs to OwnRecords.
func IsOwnName(name string) bool {
	return slices.ContainsFunc(OwnRecords(), func(own dns.Record) bool { return own.Name == name })
}

func (l *Local) ApplyRecords(_ context.Context, records []dns.Record) error {
	unlock, err := l.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return l.applyRecords(records)
}

// applyRecords requires the lock.
func (l *Local) applyRecords(records []dns.Record) (err error) {
	defer run.Wrap(&err, "apply records")
	zone := hostedZone(records)
	table, err := dns.NewTable(zone, 0)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(l.zoneDir(), 0o700); err != nil {
		return err
	}
	if err := state.WriteJSON(filepath.Join(l.zoneDir(), ZoneFile), zone); err != nil {
		return err
	}
	hosts := slices.DeleteFunc(table.Hosts(), func(host dns.Host) bool { return host.Name == nameServerName })
	return hostnet.New(l.home, l.runner).WriteNames(hosts)
}

// hostedZone returns the zone with the given record sets and OwnRecords.
func hostedZone(records []dns.Record) dns.Zone {
	return dns.Zone{Name: ZoneName, Server: nameServerName, Records: slices.Concat(OwnRecords(), records)}
}

// reapplyRecords applies the last records again: this machine may have been restarted since, or another localcloud
// may have written them.
func (l *Local) reapplyRecords() error {
	unlock, err := l.lock()
	if err != nil {
		return err
	}
	defer unlock()
	var zone dns.Zone
	if err := state.ReadJSON(filepath.Join(l.zoneDir(), ZoneFile), &zone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot read the zone's records: %w", err)
	}
	return l.applyRecords(slices.DeleteFunc(zone.Records, func(record dns.Record) bool { return IsOwnName(record.Name) }))
}

func (l *Local) zoneDir() string { return filepath.Join(l.home.Cloud(), "zone") }

// lock prevents other processes and goroutines from changing the home's files at the same time.
func (l *Local) lock() (unlock func(), err error) {
	if err := os.MkdirAll(l.home.Cloud(), 0o700); err != nil {
		return nil, fmt.Errorf("lock local cloud: %w", err)
	}
	return state.Lock(filepath.Join(l.home.Cloud(), "lock"), 0)
}
