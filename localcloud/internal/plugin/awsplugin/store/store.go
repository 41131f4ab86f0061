// Package store holds the state of the local cloud's resources, as AWS's control plane does. The state is one JSON
// file, so that it persists between commands and is readable by a person.
package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"immutable-infra/localcloud/internal/state"
)

// lockRetry is the interval between attempts to acquire the lock.
const lockRetry = 20 * time.Millisecond

// Store is the file with the State. It contains secrets: user data and the access keys of roles.
type Store struct {
	path string
}

// Open returns the store in the given file, which does not have to exist yet.
func Open(path string) *Store {
	return &Store{path: path}
}

// Transaction gives one operation exclusive access to the state.
type Transaction struct {
	*State
	store *Store
}

// Save writes the state before the transaction ends, so that an unfinished operation is recorded even if its
// process is killed.
func (tx *Transaction) Save() error {
	if err := state.WriteJSON(tx.store.path, tx.State); err != nil {
		return fmt.Errorf("cannot save the store: %w", err)
	}
	return nil
}

// Update runs an operation exclusively, across all processes, and saves the state if it succeeds. If it fails, the
// state remains as it was last saved.
func (s *Store) Update(ctx context.Context, operation func(tx *Transaction) error) (err error) {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return fmt.Errorf("cannot create the store's directory: %w", err)
	}
	// Each transaction has its own lock object, so that it also excludes other goroutines of the same process.
	lock := flock.New(s.path + ".lock")
	if _, err := lock.TryLockContext(ctx, lockRetry); err != nil {
		return fmt.Errorf("cannot lock the store %s: %w", s.path, err)
	}
	defer func() {
		if closeErr := lock.Close(); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("cannot unlock the store %s: %w", s.path, closeErr))
		}
	}()

	saved, err := s.Read()
	if err != nil {
		return err
	}
	tx := &Transaction{State: saved, store: s}
	if err := operation(tx); err != nil {
		return err
	}
	return tx.Save()
}

// Read returns the state as it was last saved, without taking the lock. Changes to the result are not saved.
func (s *Store) Read() (*State, error) {
	saved := newState()
	if err := state.ReadJSON(s.path, saved); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot load the store: %w", err)
	}
	return saved, nil
}

// State holds all resources. Each collection is keyed by the resource's id, or by its name if AWS identifies it by
// name.
type State struct {
	Vpcs                   Table                `json:"vpcs"`
	Subnets                Table                `json:"subnets"`
	InternetGateways       Table                `json:"internetGateways"`
	RouteTables            Table                `json:"routeTables"`
	RouteTableAssociations Table                `json:"routeTableAssociations"`
	VpcEndpoints           Table                `json:"vpcEndpoints"`
	SecurityGroups         Table                `json:"securityGroups"`
	SecurityGroupRules     Table                `json:"securityGroupRules"`
	Instances              map[string]*Instance `json:"instances"`
	Addresses              Table                `json:"addresses"`
	Roles                  map[string]*Role     `json:"roles"`
	Policies               Table                `json:"policies"`
	InstanceProfiles       Table                `json:"instanceProfiles"`
	OpenIDConnectProviders Table                `json:"openIdConnectProviders"`
	Buckets                map[string]*Bucket   `json:"buckets"`
	Records                Table                `json:"records"`

	// LastPublicAddress is the last byte of the public address that was allocated last. The next allocation continues
	// after it, so that a client that still uses a released address does not reach another instance.
	LastPublicAddress int `json:"lastPublicAddress"`
}

// Table holds the resources of one type.
type Table map[string]Record

// Instance is an instance, including data that AWS keeps but does not return.
type Instance struct {
	// Shown has the SHA-1 of the user data, like the Terraform provider's state.
	Shown Record `json:"instance"`
	// Pending is true until the instance runs. If an operation finds a pending instance, the process that was
	// launching it has been killed.
	Pending      bool   `json:"pending,omitempty"`
	VpcID        string `json:"vpcId"`
	UserData     []byte `json:"userData,omitempty"`
	Architecture string `json:"architecture"`
	// AutoPublicIP is the auto-assigned public address, or empty.
	AutoPublicIP string `json:"autoPublicIp,omitempty"`
}

// Role is a role with its inline policies and its account at the S3 server.
type Role struct {
	Shown    Record `json:"role"`
	Policies Table  `json:"policies"` // by name
	// Account is nil until an instance uses the role or an operator requests the role's credentials.
	Account *Account `json:"account,omitempty"`
}

// Account is a user of the S3 server.
type Account struct {
	AccessKeyID     string `json:"accessKeyId"`
	SecretAccessKey string `json:"secretAccessKey"`
}

// Bucket is a bucket with its settings, each of which is nil until it is created.
type Bucket struct {
	Shown        Record `json:"bucket"`
	Versioning   Record `json:"versioning,omitempty"`
	Encryption   Record `json:"encryption,omitempty"`
	PublicAccess Record `json:"publicAccess,omitempty"`
	Ownership    Record `json:"ownership,omitempty"`
	Policy       Record `json:"policy,omitempty"` // as the program wrote it
	Lifecycle    Record `json:"lifecycle,omitempty"`
}

func newState() *State {
	s := &State{}
	for _, field := range reflect.ValueOf(s).Elem().Fields() {
		if field.Kind() == reflect.Map {
			field.Set(reflect.MakeMap(field.Type()))
		}
	}
	return s
}

// Table returns the records of the table with the given name, which is a field of State. In a name such as
// Buckets.Policy, the second part is a field of the entries: Table then returns that field of each entry that has
// it.
func (s *State) Table(name string) Table {
	entries, part := s.entries(name)
	if part == "" {
		return entries.Interface().(Table)
	}
	records := Table{}
	for id, entry := range entries.Seq2() {
		if r := entry.Elem().FieldByName(part).Interface().(Record); r != nil {
			records[id.String()] = r
		}
	}
	return records
}

// Put adds or replaces a record of a table, which is named as for Table.
func (s *State) Put(table, id string, r Record) {
	entries, part := s.entries(table)
	if part == "" {
		entries.SetMapIndex(reflect.ValueOf(id), reflect.ValueOf(r))
		return
	}
	entry := entries.MapIndex(reflect.ValueOf(id))
	if !entry.IsValid() {
		entry = reflect.New(entries.Type().Elem().Elem())
		entries.SetMapIndex(reflect.ValueOf(id), entry)
	}
	entry.Elem().FieldByName(part).Set(reflect.ValueOf(r))
}

// Drop removes a record from a table, which is named as for Table. Dropping an entry's Shown record removes the
// whole entry.
func (s *State) Drop(table, id string) {
	entries, part := s.entries(table)
	if part != "" && part != "Shown" {
		s.Put(table, id, nil)
		return
	}
	entries.SetMapIndex(reflect.ValueOf(id), reflect.Value{})
}

func (s *State) entries(table string) (entries reflect.Value, part string) {
	field, part, _ := strings.Cut(table, ".")
	return reflect.ValueOf(s).Elem().FieldByName(field), part
}
