"""Say who asks and who pays (step 1).

Called by the handler with the call and the project of its URL. In open mode every caller is trusted: the customer is
the workload when it names one, else the owner of the project, else the project itself in the default tier; the
credential is kept only to be passed on. What leaves: a Principal; nothing fails here.
"""

from bqgate.domain.principal import Principal
from bqgate.domain.tier import Directory
from bqgate.gate.credential import credential_of
from bqgate.wire.exchange import Call


def identify(call: Call, *, project_id: str, workload: str | None, directory: Directory) -> Principal:
    """The principal of a call. Its name is a hash of the credential until a dry run tells the e-mail address."""
    credential = credential_of(call)
    return Principal(
        customer=directory.customer_id_for(project_id=project_id, workload=workload),
        name=credential.fingerprint,
        workload=workload,
        credential=credential,
    )
