"""Fakes of the documented APIs that the fan-out calls, for `Web`. They answer as the systems do, in the systems' words."""

import base64
import json
from urllib.parse import parse_qs, urlsplit

from tests.support.fakes.web import Answer, Asked


class Vicidial:
    """The non-agent API, as www/vicidial/non_agent_api.php of SVN 3884 answers."""

    def __init__(self, campaigns: set[str]) -> None:
        self.campaigns = campaigns
        self.dnc: set[tuple[str, str]] = set()  # the number and the campaign
        self.leads: dict[
            str, dict[str, str]
        ] = {}  # by number: the status in the hopper of each lead, empty: not there
        self.statuses: dict[str, str] = {}  # of leads, as they were updated
        self.loses_inserts = False

    def __call__(self, asked: Asked) -> Answer:
        assert asked.method == "POST" and "?" not in asked.path, (
            "the password would be in the web server's log"
        )
        given = {name: values[0] for name, values in parse_qs(asked.body.decode()).items()}
        assert len(given["source"]) >= 2
        if (given["user"], given["pass"]) != ("api", "let me in"):
            return 200, b"ERROR: Invalid Username/Password: |api|0|0|0|\n"
        answer = getattr(self, given["function"])(given)
        return 200, answer.encode()

    def campaigns_list(self, given: dict) -> str:
        if given["campaign_id"] not in self.campaigns:
            return "ERROR: campaigns_list THIS USER HAS NO VIEWABLE CAMPAIGNS: api|\n"
        return f"{given['campaign_id']}|A campaign|Y|---ALL---|RATIO|1|DOWN|NEW|26|9|||\n"

    def add_dnc_phone(self, given: dict) -> str:
        number, campaign = given["phone_number"], given["campaign_id"]
        if (number, campaign) in self.dnc:
            return f"ERROR: add_dnc_phone DNC NUMBER ALREADY EXISTS: |api|{number}|{campaign}\n"
        if not self.loses_inserts:
            self.dnc.add((number, campaign))
        return f"SUCCESS: add_dnc_phone DNC NUMBER HAS BEEN ADDED - api|{number}|{campaign}\n"

    def delete_dnc_phone(self, given: dict) -> str:
        number, campaign = given["phone_number"], given["campaign_id"]
        if (number, campaign) not in self.dnc:
            return f"ERROR: delete_dnc_phone DNC NUMBER DOES NOT EXIST: |api|{number}|{campaign}\n"
        self.dnc.remove((number, campaign))
        return f"SUCCESS: delete_dnc_phone DNC NUMBER HAS BEEN DELETED - api|{number}|{campaign}\n"

    def check_phone_number(self, given: dict) -> str:
        number, campaign = given["phone_number"], given["campaign_id"]
        if given["local_call_time"] != "24hours":
            return "ERROR: check_phone_number THIS IS NOT A VALID CALL TIME: |api|x|\n"
        if (number, "SYSTEM_INTERNAL") in self.dnc:
            return f"ERROR: check_phone_number PHONE NUMBER IN DNC - {number}|api\n"
        if (number, campaign) in self.dnc:
            return f"ERROR: check_phone_number PHONE NUMBER IN CAMPAIGN DNC - {number}|{campaign}|api\n"
        return f"AREACODE: 1|-6#PHONE: {number}|{given['phone_code']}||||\n"

    def lead_search(self, given: dict) -> str:
        number = given["phone_number"]
        if not (leads := self.leads.get(number)):
            return f"ERROR: lead_search NO MATCHES FOUND IN THE SYSTEM: |api|||{number}\n"
        return f"{number}|{len(leads)}|{'-'.join(leads)}\n"

    def update_lead(self, given: dict) -> str:
        lead = given["lead_id"]
        number = next(number for number, leads in self.leads.items() if lead in leads)
        first = f"NOTICE: update_lead LEADS FOUND IN THE SYSTEM: |api|{lead}||{number}|999|0\n"
        if given.get("no_update") != "Y":
            self.statuses[lead] = given["status"]
            first = f"SUCCESS: update_lead LEAD HAS BEEN UPDATED - api|{lead}|||\n"
        status = self.leads[number][lead]
        if not status:
            return f"{first}NOTICE: update_lead NOT REMOVED FROM HOPPER, LEAD IS NOT IN THE HOPPER - {number}|{lead}|api\n"
        if status in {"INCALL", "DONE", "HOLD", "DNC"}:
            return f"{first}NOTICE: update_lead NOT REMOVED FROM HOPPER - {number}|{lead}|{status}|api\n"
        self.leads[number][lead] = ""
        return f"{first}NOTICE: update_lead REMOVED FROM HOPPER - {number}|{lead}|{status}|api\n"


class GenesysCloud:
    """Client credentials, and PATCH of a DNC list's phone numbers. Tokens end after a number of uses."""

    def __init__(self, uses: int = 1000) -> None:
        self.numbers: set[str] = set()
        self.tokens: dict[str, int] = {}
        self.sizes: list[int] = []
        self._uses = uses

    def __call__(self, asked: Asked) -> Answer:
        if asked.path == "/oauth/token":
            assert asked.headers["authorization"] == "Basic " + base64.b64encode(b"id:secret").decode()
            assert asked.body == b"grant_type=client_credentials"
            token = f"token{len(self.tokens)}"
            self.tokens[token] = self._uses
            return 200, json.dumps(
                {"access_token": token, "token_type": "bearer", "expires_in": 86399}
            ).encode()
        token = asked.headers["authorization"].removeprefix("Bearer ")
        if not self.tokens.get(token):
            return 401, b'{"code":"bad.credentials"}'
        self.tokens[token] -= 1
        assert (asked.method, asked.path) == ("PATCH", "/api/v2/outbound/dnclists/list-1/phonenumbers")
        body = json.loads(asked.body)
        self.sizes.append(len(body["phoneNumbers"]))
        change = {"Add": self.numbers.update, "Remove": self.numbers.difference_update}[body["action"]]
        change(body["phoneNumbers"])
        return 204, b""


class Convoso:
    """POST /v1/dnc/insert."""

    def __init__(self) -> None:
        self.dnc: set[tuple[str, str, str]] = set()

    def __call__(self, asked: Asked) -> Answer:
        assert (asked.method, urlsplit(asked.path).path) == ("POST", "/v1/dnc/insert")
        given = {name: values[0] for name, values in parse_qs(asked.body.decode()).items()}
        assert given["auth_token"] == "t0ken"
        entry = given["phone_code"], given["phone_number"], given["campaign_id"]
        if entry[2] == "404":
            return 200, b'{"success":false,"code":6006,"text":"Invalid Campaign ID"}'
        if entry in self.dnc:
            return 200, b'{"success":false,"code":6008,"text":"The phone number already exists."}'
        self.dnc.add(entry)
        return 200, b'{"success":true,"id":1}'
