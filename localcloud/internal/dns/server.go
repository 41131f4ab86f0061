package dns

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"immutable-infra/localcloud/internal/state"
)

const (
	maxDatagram = 1232            // the size of UDP messages that no network splits, in bytes
	idleTimeout = 2 * time.Second // how long a connection may stay open without a question
)

// Handler answers from a zone file as it is at each question.
type Handler struct {
	path string
	good atomic.Pointer[Table] // what the file had when it could last be read
}

// NewHandler returns a handler for the Zone in a file, which need not be there
// yet: until it is, the answer is a server failure.
func NewHandler(path string) *Handler { return &Handler{path: path} }

func (h *Handler) ServeDNS(w dns.ResponseWriter, request *dns.Msg) {
	table := h.current()
	reply := new(dns.Msg).SetRcode(request, dns.RcodeServerFailure)
	switch {
	case request.Opcode != dns.OpcodeQuery:
		reply.Rcode = dns.RcodeNotImplemented
	case table != nil:
		reply = table.Answer(request)
	}
	size := dns.MaxMsgSize
	if _, datagram := w.RemoteAddr().(*net.UDPAddr); datagram {
		size = dns.MinMsgSize
	}
	if extension := request.IsEdns0(); extension != nil {
		reply.SetEdns0(maxDatagram, extension.Do())
		if size == dns.MinMsgSize {
			size = max(size, min(int(extension.UDPSize()), maxDatagram))
		}
	}
	reply.Truncate(size)
	if err := w.WriteMsg(reply); err != nil {
		log.Printf("answer %s: %v", w.RemoteAddr(), err)
	}
}

// current returns the table of the file as it is, or as it was when it could last be read; nil is none.
func (h *Handler) current() *Table {
	table, err := readTable(h.path)
	if err != nil {
		log.Printf("zone file: %v", err)
		return h.good.Load()
	}
	h.good.Store(table)
	return table
}

func readTable(path string) (*Table, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	var zone Zone
	if err := state.ReadJSON(path, &zone); err != nil {
		return nil, err
	}
	return NewTable(zone, uint32(info.ModTime().Unix()))
}

// Serve answers on a stream listener (TCP) and a packet listener (UDP) until
// the context ends or one of them fails. It closes both.
func Serve(ctx context.Context, handler dns.Handler, stream net.Listener, packets net.PacketConn) error {
	group, serving := errgroup.WithContext(ctx)
	context.AfterFunc(serving, func() { stream.Close(); packets.Close() })
	idle := func() time.Duration { return idleTimeout }
	for _, server := range []*dns.Server{
		{Listener: stream, Handler: handler, IdleTimeout: idle},
		{PacketConn: packets, Handler: handler, UDPSize: maxDatagram},
	} {
		group.Go(server.ActivateAndServe)
	}
	if err := group.Wait(); ctx.Err() == nil {
		return fmt.Errorf("name server ended: %w", err)
	}
	return nil
}
