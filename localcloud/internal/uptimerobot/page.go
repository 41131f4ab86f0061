package uptimerobot

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
)

// page is a public status page.
type page struct {
	ID           int64
	FriendlyName string
	CustomDomain string
	// MonitorIDs are those that it shows; a single 0 shows all.
	MonitorIDs []int64
}

func (s *Server) pages() kind {
	return kind{
		noun: "PSP", path: "/psps",
		ids:    func() []int64 { return slices.Collect(maps.Keys(s.account.Pages)) },
		told:   func(id int64) any { return tellPage(s.account.Pages[id]) },
		write:  s.writePage,
		remove: func(id int64) { delete(s.account.Pages, id) },
	}
}

func (s *Server) writePage(id int64, body map[string]any) (int64, error) {
	if err := checkFields(body, map[string]rule{
		"friendlyName": {true, stringUpTo(255)},
		"customDomain": {false, stringUpTo(255)},
		"monitorIds":   {false, listOf(between(0, 1<<40))},
	}, id == 0); err != nil {
		return 0, err
	}
	p := page{MonitorIDs: []int64{0}}
	if id != 0 {
		p = *s.account.Pages[id]
	}
	setString(body, "friendlyName", &p.FriendlyName)
	setString(body, "customDomain", &p.CustomDomain)
	if list, sent := body["monitorIds"].([]any); sent {
		p.MonitorIDs = []int64{}
		for _, each := range list {
			shown := int64(each.(float64))
			if _, ok := s.account.Monitors[shown]; !ok && shown != 0 {
				return 0, refuse(http.StatusBadRequest, "", "monitor %d does not exist", shown)
			}
			p.MonitorIDs = append(p.MonitorIDs, shown)
		}
	}
	if p.CustomDomain != "" && !s.settings.Plan.CustomDomains {
		return 0, refuse(http.StatusForbidden, "000-003", "Your plan does not support custom domains")
	}
	for _, other := range s.account.Pages {
		if other.ID != id && p.CustomDomain != "" && other.CustomDomain == p.CustomDomain {
			return 0, refuse(http.StatusConflict, "000-002", "Custom domain is already in use")
		}
	}
	if id == 0 {
		p.ID = s.account.newID()
	}
	s.account.Pages[p.ID] = &p
	return p.ID, nil
}

func tellPage(p *page) any {
	var domain any
	if p.CustomDomain != "" {
		domain = p.CustomDomain
	}
	return map[string]any{
		"id": p.ID, "friendlyName": escaped(p.FriendlyName), "customDomain": domain, "isPasswordSet": "false",
		"monitorIds": p.MonitorIDs, "monitorsCount": len(p.MonitorIDs), "status": "ENABLED", "urlKey": "k" + strconv.FormatInt(p.ID, 36),
		"noIndex": "false", "hideUrlLinks": "false",
	}
}
